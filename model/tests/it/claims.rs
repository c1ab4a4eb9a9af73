//! Tensors in a checkpoint's files versus the claims of its configuration: either the right tensor is used, or the
//! start is refused by name. A part of the model is never left out of its answers.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use secateur_model::{FloatType, LoadOptions, Model, ModelError, Segment};
use serde_json::{Value, json};

use crate::families_fixture::families;

const TOKENS: [u32; 5] = [1, 17, 40, 33, 8];

/// A checkpoint that tests modify.
struct Checkpoint {
    config: Value,
    /// Format, shape and bytes by stored name.
    tensors: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    dir: tempfile::TempDir,
}

impl Checkpoint {
    fn of(family: &str) -> Checkpoint {
        let folder = families().join(family);
        let dir = tempfile::tempdir().unwrap();
        let mut tensors = HashMap::new();
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
            if name.starts_with("model") && name.ends_with(".safetensors") {
                let bytes = std::fs::read(path).unwrap();
                for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                    tensors.insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
                }
            } else if name.ends_with("processor_config.json") || name == "preprocessor_config.json" {
                std::fs::copy(path, dir.path().join(name)).unwrap();
            }
        }
        let config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        Checkpoint { config, tensors, dir }
    }

    /// The only stored name that ends with `end`.
    fn name(&self, end: &str) -> String {
        let found: Vec<&String> = self.tensors.keys().filter(|name| name.ends_with(end)).collect();
        assert_eq!(found.len(), 1, "{end}: {found:?}");
        found[0].clone()
    }

    /// Stores a new f32 tensor filled with `number`, named like the one whose name ends in `beside`, with that end
    /// replaced.
    fn add(&mut self, beside: &str, end: &str, shape: &[usize], number: f32) -> String {
        let name = self.name(beside).strip_suffix(beside).unwrap().to_owned() + end;
        let len: usize = shape.iter().product();
        let bytes = number.to_le_bytes().repeat(len);
        self.tensors.insert(name.clone(), (Dtype::F32, shape.to_vec(), bytes));
        name
    }

    fn dir(&self) -> &Path {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &self.dir.path().join("model.safetensors")).unwrap();
        std::fs::write(self.dir.path().join("config.json"), self.config.to_string()).unwrap();
        self.dir.path()
    }

    fn load(&self) -> Result<Model, ModelError> {
        let options = LoadOptions { vision: true, dtype: Some(FloatType::F32), ..LoadOptions::default() };
        Model::load(self.dir(), &options)
    }

    fn logits(&self) -> Vec<f32> {
        self.load().unwrap().logits(&[Segment::Text(&TOKENS)]).unwrap()
    }

    /// The stored name in the refusal, and its reason.
    fn refused(&self) -> (String, String) {
        match self.load() {
            Err(ModelError::UnusedTensor { name, problem }) => (name, problem),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was loaded"),
        }
    }
}

/// As in transformers, the configuration's claim to tie the head only matters where the head is not stored.
#[test]
fn a_stored_head_is_the_head_whatever_is_claimed() {
    for family in ["llama2", "mistral", "llava", "qwen2.5-vl"] {
        let mut checkpoint = Checkpoint::of(family);
        let embedding = checkpoint.name("embed_tokens.weight");
        let head = checkpoint.tensors.keys().find(|name| name.ends_with("lm_head.weight")).cloned();
        let head = head.unwrap_or("lm_head.weight".to_owned());
        // A distinct head: the embedding's numbers in reverse order.
        let (dtype, shape, bytes) = checkpoint.tensors[&embedding].clone();
        let backwards: Vec<u8> = bytes.chunks(dtype.bitsize() / 8).rev().flatten().copied().collect();
        checkpoint.tensors.insert(head.clone(), (dtype, shape.clone(), backwards));
        checkpoint.config["tie_word_embeddings"] = json!(false);
        if let Some(text) = checkpoint.config.get_mut("text_config") {
            text["tie_word_embeddings"] = json!(false);
        }
        let own = checkpoint.logits();
        checkpoint.config["tie_word_embeddings"] = json!(true);
        assert_eq!(checkpoint.logits(), own, "{family}: another head");
        // Two equal tensors count as one, and either replaces the other.
        checkpoint.tensors.insert(head.clone(), (dtype, shape.clone(), bytes.clone()));
        let twice = checkpoint.logits();
        assert_ne!(twice, own);
        checkpoint.tensors.remove(&head);
        assert_eq!(checkpoint.logits(), twice, "{family}: no head");
        checkpoint.tensors.insert(head, (dtype, shape, bytes));
        checkpoint.tensors.remove(&embedding);
        assert_eq!(checkpoint.logits(), twice, "{family}: no embedding");
        checkpoint.config["tie_word_embeddings"] = json!(false);
        assert!(
            matches!(checkpoint.load(), Err(ModelError::MissingTensor { name }) if name.ends_with("embed_tokens.weight"))
        );
    }
}

/// A stored bias that the configured model does not add is refused, unless adding it would change nothing.
#[test]
fn a_stored_bias_that_is_not_claimed_is_refused_unless_it_is_zero() {
    let cases = [
        ("llama2", "self_attn.q_proj"),
        ("llama2", "self_attn.o_proj"),
        ("llama2", "mlp.down_proj"),
        ("mistral", "self_attn.k_proj"),
        ("mistral", "mlp.gate_proj"),
        ("qwen2", "self_attn.o_proj"),
        ("qwen2", "mlp.up_proj"),
        ("qwen3", "self_attn.v_proj"),
        ("llava", "self_attn.o_proj"),
        ("qwen2.5-vl", "self_attn.o_proj"),
    ];
    for (family, part) in cases {
        let mut checkpoint = Checkpoint::of(family);
        let block = if family.starts_with("llava") || family == "qwen2.5-vl" { "layers.0" } else { "model.layers.0" };
        let weight = checkpoint
            .tensors
            .keys()
            .find(|name| name.ends_with(&format!("{block}.{part}.weight")) && !name.contains("vision"))
            .unwrap()
            .clone();
        if matches!(family, "llama2") {
            checkpoint.config["attention_bias"] = json!(false);
            checkpoint.config["mlp_bias"] = json!(false);
            checkpoint.tensors.retain(|name, _| !name.ends_with(".bias"));
        }
        let expected = checkpoint.logits();
        let outputs = checkpoint.tensors[&weight].1[0];
        let bias = checkpoint.add(&weight, &weight.replace(".weight", ".bias"), &[outputs], 0.0);
        assert_eq!(checkpoint.logits(), expected, "{family}");
        checkpoint.add(&weight, &bias, &[outputs], -0.0);
        assert_eq!(checkpoint.logits(), expected, "{family}");
        checkpoint.add(&weight, &bias, &[outputs], 1e-3);
        let (name, why) = checkpoint.refused();
        assert!(name == bias && why.contains("bias"), "{family}: {name} {why}");
    }
}

#[test]
fn a_claimed_bias_that_is_not_stored_is_refused() {
    for (claim, part) in [("attention_bias", "q_proj.bias"), ("mlp_bias", "gate_proj.bias")] {
        let mut checkpoint = Checkpoint::of("llama3");
        checkpoint.tensors.retain(|name, _| !name.ends_with(".bias"));
        checkpoint.config["attention_bias"] = json!(false);
        checkpoint.config["mlp_bias"] = json!(false);
        checkpoint.config[claim] = json!(true);
        assert!(
            matches!(checkpoint.load(), Err(ModelError::MissingTensor { name }) if name.ends_with(part)),
            "{claim}"
        );
    }
}

#[test]
fn a_tensor_without_a_place_in_the_model_is_refused_by_its_name() {
    // Family, a tensor that exists, the one to add beside it, and a word of the reason.
    let cases = [
        ("llama2", "model.norm.weight", "lm_head.bias", "bias"),
        ("llama2", "model.norm.weight", "score.weight", "LlamaForCausalLM has no place for"),
        ("llama2", "model.norm.weight", "v_head.summary.weight", "no place"),
        ("llama2", "model.norm.weight", "model.layers.99.input_layernorm.weight", "num_hidden_layers"),
        ("llama2", "model.norm.weight", "model.layers.0.self_attn.q_proj.lora_A.weight", "adapter"),
        ("llama2", "model.norm.weight", "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight", "adapter"),
        ("llama2", "model.norm.weight", "model.layers.0.self_attn.q_norm.weight", "no place"),
        ("llama2", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight_scale", "no place"),
        ("llama2", "model.norm.weight", "vision_tower.vision_model.post_layernorm.bias", "no place"),
        ("llama2", "model.norm.weight", "multi_modal_projector.linear_1.weight", "no place"),
        ("qwen2", "model.norm.weight", "model.layers.1.self_attn.k_norm.weight", "no place"),
        ("qwen3", "model.norm.weight", "model.layers.1.mlp.gate.weight", "no place"),
        ("mistral", "model.norm.weight", "model.layers.0.block_sparse_moe.gate.weight", "no place"),
    ];
    for (family, beside, name, why) in cases {
        let mut checkpoint = Checkpoint::of(family);
        checkpoint.add(beside, name, &[3], 1.0);
        let (refused, problem) = checkpoint.refused();
        assert!(refused == name && problem.contains(why), "{family} {name}: {refused} {problem}");
    }
    for (family, beside, name, why) in [
        ("llava", "post_layernorm.weight", "head.weight", "no place"),
        ("llava", "post_layernorm.weight", "encoder.layers.9.layer_norm1.weight", "vision_config.num_hidden_layers"),
        ("llava", "multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_3.weight", "no place"),
        ("qwen2.5-vl", "merger.ln_q.weight", "blocks.77.norm1.weight", "vision_config.depth"),
        ("qwen2.5-vl", "merger.ln_q.weight", "merger.mlp.1.weight", "no place"),
    ] {
        let mut checkpoint = Checkpoint::of(family);
        let added = checkpoint.add(beside, name, &[3], 1.0);
        let (refused, problem) = checkpoint.refused();
        assert!(refused == added && problem.contains(why), "{family} {name}: {refused} {problem}");
    }
}

#[test]
fn weights_of_a_format_that_cannot_be_computed_with_are_refused() {
    let mut checkpoint = Checkpoint::of("llama2");
    let name = checkpoint.name("model.layers.0.mlp.up_proj.weight");
    let (_, shape, _) = checkpoint.tensors[&name].clone();
    let bytes = vec![1; shape.iter().product()];
    checkpoint.tensors.insert(name.clone(), (Dtype::F8_E4M3, shape, bytes));
    let (refused, problem) = checkpoint.refused();
    assert!(refused == name && problem.contains("F8_E4M3"), "{refused} {problem}");
}

#[test]
fn leftovers_that_change_no_answer_pass() {
    let mut checkpoint = Checkpoint::of("llama2");
    let expected = checkpoint.logits();
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"] {
        checkpoint.add("model.norm.weight", name, &[4], 0.5);
    }
    assert_eq!(checkpoint.logits(), expected);
    let mut seeing = Checkpoint::of("llava");
    let expected = seeing.logits();
    let name = seeing.name("post_layernorm.weight").replace("post_layernorm.weight", "embeddings.position_ids");
    seeing.tensors.insert(name, (Dtype::I64, vec![1, 2], vec![0; 16]));
    assert_eq!(seeing.logits(), expected);
}

#[test]
fn rows_of_the_embedding_are_the_vocabulary() {
    for (family, key) in [("llama2", None), ("qwen2.5-vl", Some("text_config"))] {
        let mut checkpoint = Checkpoint::of(family);
        let config = match key.filter(|key| checkpoint.config.get(key).is_some()) {
            Some(key) => &mut checkpoint.config[key],
            None => &mut checkpoint.config,
        };
        config["vocab_size"] = json!(config["vocab_size"].as_u64().unwrap() - 1);
        assert!(
            matches!(checkpoint.load(), Err(ModelError::Shape { name, .. }) if name.ends_with("embed_tokens.weight"))
        );
    }
}

#[test]
fn an_adapter_beside_the_weights_is_refused() {
    let checkpoint = Checkpoint::of("llama2");
    std::fs::write(checkpoint.dir().join("adapter_config.json"), "{}").unwrap();
    assert!(matches!(checkpoint.load(), Err(ModelError::Config { field, .. }) if field == "adapter_config.json"));
}
