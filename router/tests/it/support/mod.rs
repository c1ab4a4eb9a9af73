//! A router on port 0 in front of scripted nodes, with real sockets in between.

pub mod http2;
pub mod nodes;
pub mod raw;
pub mod replies;
pub mod router;
pub mod tls;
pub mod web;

use std::path::PathBuf;

use serde_json::Value;
use tokenizers::Tokenizer;

/// The tiny byte-level checkpoint folder.
pub fn model_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model")
}

/// `text` as tokens of the fixture, followed by its end token.
pub fn answer_tokens(text: &str) -> Vec<u32> {
    let tokenizer = Tokenizer::from_file(model_folder().join("tokenizer.json")).unwrap();
    let mut tokens = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
    tokens.push(END_TOKEN);
    tokens
}

/// The text of tokens of the fixture, special ones included.
pub fn text_of(tokens: &[u32]) -> String {
    let tokenizer = Tokenizer::from_file(model_folder().join("tokenizer.json")).unwrap();
    tokenizer.decode(tokens, false).unwrap()
}

/// The tiny checkpoint with this chat template; the folder lives as long as the test.
pub fn model_with_template(template: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model_folder()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["chat_template"] = template.into();
    std::fs::write(file, config.to_string()).unwrap();
    folder
}

/// `</s>`.
pub const END_TOKEN: u32 = 1;

/// `<image>`.
pub const IMAGE_TOKEN: u32 = 3;

/// A data URI that passes the router's look at its first bytes.
pub const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";
