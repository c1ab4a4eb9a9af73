use super::*;
use crate::build::Build;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn texts(texts: &[&str]) -> Value {
    Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn sentencepiece() -> Build {
    Build::llama()
        .with("tokenizer.ggml.model", text("llama"))
        .without("tokenizer.ggml.merges")
        .with("tokenizer.ggml.tokens", texts(&["<s>", "</s>", "a", "b", "ab", "aab"]))
        .with("tokenizer.ggml.scores", Value::Floats(vec![0.0, 0.0, -3.0, -4.0, -1.0, -1.0]))
}

fn tokenizer(build: &Build) -> Json {
    build.read().unwrap().tokenizer().unwrap()
}

fn refusal(build: &Build) -> String {
    build.read().unwrap().tokenizer().unwrap_err().to_string()
}

#[test]
fn byte_level_vocabularies_are_spelled_in_their_alphabet() {
    let tokens = texts(&["<\u{ff5c}s\u{ff5c}>", "</s>", "a", "b", "ab", "\u{e9} x"]);
    let json = tokenizer(&Build::llama().with("tokenizer.ggml.tokens", tokens));
    // é is in the alphabet, the space is not: the token is spelled byte by byte. A control token is not spelled.
    assert_eq!(json["model"]["vocab"]["\u{c3}\u{a9}\u{120}x"], 5);
    assert_eq!(json["model"]["vocab"]["<\u{ff5c}s\u{ff5c}>"], 0);
    assert_eq!(json["model"]["merges"], json!([["a", "b"]]));
    assert_eq!(json["added_tokens"][0]["content"], "<\u{ff5c}s\u{ff5c}>");
}

#[test]
fn each_pre_tokenizer_is_that_of_its_models() {
    let of = |name: &str| tokenizer(&Build::llama().with("tokenizer.ggml.pre", text(name)));
    assert_eq!(of("smollm")["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
    assert_eq!(of("default")["pre_tokenizer"]["type"], "ByteLevel");
    let pattern = |name| of(name)["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].as_str().unwrap().to_owned();
    assert!(pattern("qwen2").contains(r"|\p{N}|") && pattern("llama-bpe").contains(r"|\p{N}{1,3}|"));
    assert_eq!(
        (&of("llama-bpe")["model"]["ignore_merges"], &of("qwen2")["model"]["ignore_merges"]),
        (&json!(true), &json!(false))
    );
    let missing = tokenizer(&Build::llama().without("tokenizer.ggml.pre"));
    assert_eq!(missing["pre_tokenizer"]["type"], "ByteLevel");
}

#[test]
fn merges_of_a_sentencepiece_vocabulary_follow_its_scores() {
    let json = tokenizer(&sentencepiece());
    // Of two merges with equal scores, the one with the longer parts comes first.
    assert_eq!(json["model"]["merges"], json!([["a", "ab"], ["a", "b"]]));
    assert_eq!(
        (&json["model"]["byte_fallback"], &json["pre_tokenizer"]["prepend_scheme"]),
        (&json!(true), &json!("first"))
    );
    assert_eq!(json["decoder"]["decoders"][3]["type"], "Strip");
    let bare = tokenizer(&sentencepiece().with("tokenizer.ggml.add_space_prefix", Value::Flag(false)));
    assert_eq!(bare["pre_tokenizer"]["prepend_scheme"], "never");
    assert_eq!(bare["decoder"]["decoders"].as_array().unwrap().len(), 3);
}

#[test]
fn sequences_begin_and_end_as_the_file_says() {
    let single = |build: &Build| tokenizer(build)["post_processor"]["single"].clone();
    let bos = json!({ "SpecialToken": { "id": "<s>", "type_id": 0 } });
    let eos = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    let words = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    assert_eq!(single(&Build::llama()), json!([words]));
    assert_eq!(single(&sentencepiece()), json!([bos, words]));
    let both = Build::llama()
        .with("tokenizer.ggml.add_bos_token", Value::Flag(true))
        .with("tokenizer.ggml.add_eos_token", Value::Flag(true));
    assert_eq!(single(&both), json!([bos, words, eos]));
    // A token that no key names is not added.
    assert_eq!(single(&both.without("tokenizer.ggml.bos_token_id")), json!([words, eos]));
}

#[test]
fn control_and_named_tokens_are_special_and_user_defined_ones_are_not() {
    let build = Build::llama()
        .with("tokenizer.ggml.token_type", Value::Integers(vec![3, 1, 4, 1, 1, 1]))
        .with("tokenizer.ggml.unknown_token_id", Value::Integer(4));
    let added = tokenizer(&build)["added_tokens"].clone();
    let found: Vec<(u64, bool)> = added
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["id"].as_u64().unwrap(), token["special"].as_bool().unwrap()))
        .collect();
    assert_eq!(found, [(0, true), (1, true), (2, false), (4, true)]);
}

#[test]
fn templates_and_named_tokens_are_a_tokenizers_configuration() {
    let of = |build: &Build| build.read().unwrap().tokenizer_config().unwrap();
    let one = Build::llama().with("tokenizer.chat_template", text("{{ x }}"));
    let expected = json!({
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": null, "pad_token": null, "chat_template": "{{ x }}",
    });
    assert_eq!(of(&one), expected);
    let several = one
        .with("tokenizer.chat_templates", texts(&["tool_use", "absent"]))
        .with("tokenizer.chat_template.tool_use", text("{{ y }}"));
    let expected = json!([{ "name": "tool_use", "template": "{{ y }}" }, { "name": "default", "template": "{{ x }}" }]);
    assert_eq!(of(&several)["chat_template"], expected);
    assert!(of(&Build::llama()).get("chat_template").is_none());
}

#[test]
fn what_is_not_implemented_is_refused_by_its_key() {
    let many: Vec<String> = (0..7).map(|id| format!("t{id}")).collect();
    let cases = [
        (Build::llama(), "tokenizer.ggml.model", text("bert"), "`bert` is not supported"),
        (Build::llama(), "tokenizer.ggml.pre", text("gemma4"), "`gemma4` is not supported"),
        (Build::llama(), "tokenizer.ggml.merges", texts(&["ab"]), "`ab` is not two texts"),
        (Build::llama(), "tokenizer.ggml.merges", texts(&["a b c"]), "`a b c` is not two texts"),
        (Build::llama(), "tokenizer.ggml.token_type", Value::Integers(vec![1]), "1 types for 6 tokens"),
        (Build::llama(), "tokenizer.ggml.tokens", Value::Texts(many), "7 tokens for 6 embeddings"),
        (Build::llama(), "tokenizer.ggml.tokens", texts(&["x".repeat(2000).as_str()]), "2000 bytes"),
        (sentencepiece(), "tokenizer.ggml.scores", Value::Floats(vec![0.0]), "1 scores for 6 tokens"),
        (sentencepiece(), "tokenizer.ggml.scores", Value::Floats(vec![f32::NAN; 6]), "no number"),
        (sentencepiece(), "tokenizer.ggml.precompiled_charsmap", Value::Integers(vec![1]), "not supported"),
    ];
    for (build, key, value, expected) in cases {
        let message = refusal(&build.with(key, value));
        assert!(message.contains(&format!("`{key}`")) && message.contains(expected), "{message}");
    }
    for (build, key) in [
        (Build::llama(), "tokenizer.ggml.model"),
        (Build::llama(), "tokenizer.ggml.merges"),
        (Build::llama(), "tokenizer.ggml.tokens"),
        (sentencepiece(), "tokenizer.ggml.scores"),
    ] {
        assert!(refusal(&build.without(key)).contains(&format!("no key `{key}`")));
    }
}
