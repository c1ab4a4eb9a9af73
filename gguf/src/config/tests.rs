use super::*;
use crate::build::Build;
use crate::value::Value;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn config(build: Build) -> Json {
    build.read().unwrap().config().unwrap()
}

fn refusal(build: Build) -> String {
    build.read().unwrap().config().unwrap_err().to_string()
}

#[test]
fn keys_become_those_of_a_configuration() {
    let found = config(Build::llama());
    let expected = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32", "vocab_size": 6,
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 64,
        "rms_norm_eps": f64::from(1e-5f32), "rope_theta": 10000.0, "attention_bias": false, "mlp_bias": false,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": [1],
    });
    assert_eq!(found, expected);
}

#[test]
fn tied_heads_biases_and_formats_are_told_from_the_tensors() {
    let untied = config(Build::llama().tensor("output.weight", &[8, 6]).tensor("blk.0.attn_q.bias", &[8]));
    assert_eq!((&untied["tie_word_embeddings"], &untied["attention_bias"]), (&json!(false), &json!(true)));
    let stored = |kind, bytes| {
        config(Build::llama().without("token_embd.weight").stored("token_embd.weight", &[32, 6], kind, vec![0; bytes]))
    };
    assert_eq!(stored(1, 32 * 6 * 2)["dtype"], "float16");
    assert_eq!(stored(30, 32 * 6 * 2)["dtype"], "bfloat16");
    assert_eq!(stored(8, 34 * 6)["dtype"], "bfloat16");
}

#[test]
fn a_factor_scales_rotary_embedding_whether_its_type_is_said_or_not() {
    let factor = |build: Build| build.with("llama.rope.scaling.factor", Value::Float(4.0));
    let linear = json!({ "rope_type": "linear", "factor": 4.0 });
    assert_eq!(config(factor(Build::llama()))["rope_scaling"], linear);
    assert_eq!(config(factor(Build::llama().with("llama.rope.scaling.type", text("linear"))))["rope_scaling"], linear);
    let none = config(factor(Build::llama().with("llama.rope.scaling.type", text("none"))));
    assert!(none.get("rope_scaling").is_none());
}

#[test]
fn end_tokens_are_named_by_keys_or_known_by_their_text() {
    let tokens = ["<s>", "</s>", "<|eot_id|>", "<|im_end|>", "ab", "c"].map(str::to_owned).to_vec();
    let build = Build::llama()
        .with("tokenizer.ggml.tokens", Value::Texts(tokens))
        .with("tokenizer.ggml.token_type", Value::Integers(vec![3, 3, 3, 1, 1, 1]))
        .with("tokenizer.ggml.eot_token_id", Value::Integer(5));
    // The fourth token is plain by its type, although its text looks like a control token.
    let ids = json!([1, 2, 5]);
    assert_eq!(build.read().unwrap().generation_config().unwrap(), json!({ "eos_token_id": ids }));
    assert_eq!(config(build)["eos_token_id"], ids);
}

#[test]
fn what_is_not_implemented_is_refused_by_its_key() {
    let number = |value: f64| Value::Float(value);
    let count = |value: u32| Value::Integer(value.into());
    let cases = [
        ("general.architecture", text("gemma3"), "`gemma3` is not supported, only `llama`, `qwen2`, `qwen3`"),
        ("general.architecture", text("clip"), "`clip`"),
        ("general.type", text("adapter"), "`adapter`"),
        ("general.type", text("mmproj"), "`mmproj`"),
        ("llama.expert_count", count(8), "8 is not supported"),
        ("llama.rope.scaling.type", text("yarn"), "`yarn` is not supported"),
        ("llama.rope.dimension_count", count(2), "2 is not supported"),
        ("llama.attention.value_length", count(16), "16 is not supported"),
        ("llama.attention.sliding_window", count(16), "a window of 16"),
        ("llama.logit_scale", number(8.0), "8 is not supported"),
        ("llama.attention.causal", Value::Flag(false), "only true"),
        ("llama.attention.head_count", Value::Integers(vec![2]), "must be an integer, not an array of integers"),
        ("llama.context_length", number(2.5), "must be an integer"),
        ("tokenizer.ggml.eos_token_id", count(6), "6 is not one of 6 tokens"),
    ];
    for (key, value, expected) in cases {
        let message = refusal(Build::llama().with(key, value));
        assert!(message.contains(&format!("`{key}`")) && message.contains(expected), "{key}: {message}");
    }
    let both = Build::llama().with("llama.rope.scaling.factor", number(2.0)).tensor("rope_freqs.weight", &[2]);
    assert!(refusal(both).contains("rope_freqs.weight"));
}

#[test]
fn what_is_missing_is_named() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.tokens",
    ] {
        let message = refusal(Build::llama().without(key));
        assert!(message.contains(&format!("no key `{key}`")), "{message}");
    }
    assert!(refusal(Build::llama().without("token_embd.weight")).contains("`token_embd.weight`"));
}

#[test]
fn tensors_without_a_place_are_refused_by_name() {
    let gguf = Build::llama().tensor("blk.0.ffn_gate_exps.weight", &[8, 8]).read().unwrap();
    assert!(gguf.named_tensors().unwrap_err().to_string().contains("`blk.0.ffn_gate_exps.weight`"));
    let odd = Build::llama().without("blk.0.attn_k.weight").tensor("blk.0.attn_k.weight", &[8, 3]).read().unwrap();
    assert!(odd.named_tensors().unwrap_err().to_string().contains("`blk.0.attn_k.weight`"));
}

#[test]
fn divisors_of_rotary_frequencies_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let divisors = |numbers: &[f32]| {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let build = Build::llama().stored("rope_freqs.weight", &[numbers.len() as u64], 0, bytes);
        std::fs::write(&path, build.bytes()).unwrap();
        Gguf::open(&path).unwrap().rope_divisors()
    };
    assert_eq!(divisors(&[1.0, 8.0]).unwrap(), Some(vec![1.0, 8.0]));
    assert!(divisors(&[1.0, 0.0]).unwrap_err().to_string().contains("rope_freqs.weight"));
    assert_eq!(Build::llama().read().unwrap().rope_divisors().unwrap(), None);
}
