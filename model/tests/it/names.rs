//! The same weights under other names and in other files make the same model.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use secateur_model::{LoadOptions, Model, ModelError, Segment};
use serde_json::Value;

use crate::common::{distance, folder, load, prefill};

const TOKENS: [u32; 5] = [1, 17, 40, 33, 8];

/// A tensor's format, shape and bytes.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// Every tensor of the fixture, under the hub's names.
fn tensors() -> HashMap<String, Stored> {
    let mut all = HashMap::new();
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        let bytes = std::fs::read(folder().join(shard)).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            all.insert(name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        }
    }
    all
}

fn config() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("config.json")).unwrap()).unwrap()
}

/// A single-file checkpoint whose tensors are renamed, or left out where `rename` returns `None`.
fn checkpoint(config: &Value, rename: impl Fn(&str) -> Option<String>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    std::fs::copy(folder().join("preprocessor_config.json"), dir.path().join("preprocessor_config.json")).unwrap();
    let stored = tensors();
    let renamed = stored.iter().filter_map(|(name, tensor)| Some((rename(name)?, tensor)));
    let views =
        renamed.map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    dir
}

fn logits(dir: &Path, vision: bool) -> Vec<f32> {
    let model = Model::load(dir, &LoadOptions { vision, ..LoadOptions::default() }).unwrap();
    prefill(&model, &[Segment::Text(&TOKENS)]).0
}

fn expected() -> Vec<f32> {
    prefill(&load(), &[Segment::Text(&TOKENS)]).0
}

#[test]
fn names_of_transformers_5_in_one_file() {
    let dir = checkpoint(&config(), |name| {
        let name = name.replace("vision_tower.vision_model.", "model.vision_tower.");
        let name = name.replace("language_model.lm_head.", "lm_head.");
        let name = name.replace("language_model.model.", "model.language_model.");
        Some(name.replace("multi_modal_projector.", "model.multi_modal_projector."))
    });
    assert_eq!(logits(dir.path(), true), expected());
}

#[test]
fn the_language_model_alone_is_a_plain_llama() {
    let mut config = config()["text_config"].clone();
    config["architectures"] = serde_json::json!(["LlamaForCausalLM"]);
    let dir = checkpoint(&config, |name| name.strip_prefix("language_model.").map(str::to_owned));
    assert_eq!(logits(dir.path(), true), expected());
    let model = Model::load(dir.path(), &LoadOptions::default()).unwrap();
    assert_eq!(model.info().vision, None);
    assert_ne!(model.info().fingerprint, load().info().fingerprint);
}

#[test]
fn a_tied_head_is_the_embedding() {
    let mut config = config()["text_config"].clone();
    let without_head = |name: &str| {
        name.strip_prefix("language_model.").filter(|name| !name.starts_with("lm_head")).map(str::to_owned)
    };
    let untied = checkpoint(&config, without_head);
    let error = Model::load(untied.path(), &LoadOptions::default()).err().unwrap();
    assert!(matches!(error, ModelError::MissingTensor { name } if name == "lm_head.weight"));
    config["tie_word_embeddings"] = true.into();
    let tied = checkpoint(&config, without_head);
    let found = logits(tied.path(), false);
    assert!(found.len() == expected().len() && distance(&found, &expected()) > 0.1);
}
