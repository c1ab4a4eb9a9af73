//! Checks that texts become the tokens that transformers makes with the same GGUF file
//! (`tests/fixtures/gguf/words.py`).

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{LoadError, ServedModel, load};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf")
}

fn served(name: &str) -> ServedModel {
    load(&fixtures().join(format!("tokenizers/{name}.gguf")), None).unwrap()
}

#[test]
fn texts_become_the_references_tokens() {
    for name in ["gpt-2", "smollm", "qwen2", "llama-bpe", "tekken", "sentencepiece"] {
        let model = served(name);
        let bytes = std::fs::read(fixtures().join(format!("tokenizers/{name}.json"))).unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
        assert!(rows.len() > 50, "{name}");
        for row in rows {
            let text = row["text"].as_str().unwrap();
            for (key, adds_special_tokens) in [("ids", false), ("with_special", true)] {
                let ids: Vec<u32> = serde_json::from_value(row[key].clone()).unwrap();
                let found = model.tokenizer.encode(text, adds_special_tokens).unwrap();
                assert_eq!(found.get_ids(), ids, "{name} {key}: {text:?}");
            }
        }
    }
}

#[test]
fn a_file_names_its_model_its_end_tokens_and_its_template() {
    let model = served("smollm");
    assert_eq!((model.name.as_str(), model.root.as_str(), model.max_positions), ("smollm", "smollm", Some(1)));
    // One id is named by a key; the other is the end-of-text token, which no key names.
    assert_eq!((model.stop_token_ids.as_slice(), model.vocab), ([0, 2].as_slice(), 384));
    assert!(model.template.is_some() && model.special_tokens.texts.contains(&"<|im_start|>".to_owned()));
    assert!(!model.special_tokens.texts.contains(&"<think>".to_owned()));
}

#[test]
fn two_files_of_one_tokenizer_have_one_digest() {
    let model = load(&fixtures().join("models/llama-q4_0.gguf"), None).unwrap();
    assert_eq!(model.tokenizer_digest, served("smollm").tokenizer_digest);
    assert_ne!(model.tokenizer_digest, served("gpt-2").tokenizer_digest);
}

#[test]
fn a_folder_of_several_files_is_refused_by_name() {
    let error = load(&fixtures().join("tokenizers"), None).err().unwrap();
    assert!(matches!(error, LoadError::Gguf(_)) && error.to_string().contains("gpt-2.gguf, llama-bpe.gguf"), "{error}");
}
