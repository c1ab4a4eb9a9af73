//! The demo's evaluation suite, and transformers' answers to it.

use std::{collections::HashMap, fs, path::PathBuf};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::repository;

/// One case of `models/demo/eval/suite.jsonl`.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Name of the case.
    pub id: String,
    /// Pictures, relative to the suite file.
    #[serde(default)]
    pub images: Vec<String>,
    /// The question.
    pub prompt: String,
    /// The right answer.
    pub answer: String,
    /// Tags of the case; the first one is its family.
    pub tags: Vec<String>,
}

/// The greedy answer of single-process transformers in f32.
#[derive(Debug, Deserialize)]
pub struct Greedy {
    id: String,
    /// Number of prompt tokens, every visual token counted.
    pub prompt_tokens: u64,
    /// Text of the answer.
    pub text: String,
}

/// The demo checkpoint's folder.
pub fn demo() -> PathBuf {
    repository("models/demo")
}

/// Reads every case, in order.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    lines("models/demo/eval/suite.jsonl")
}

/// Reads transformers' answers, by case id.
pub fn greedy() -> anyhow::Result<HashMap<String, Greedy>> {
    let answers: Vec<Greedy> = lines("tests/fixtures/demo/greedy.jsonl")?;
    Ok(answers.into_iter().map(|answer| (answer.id.clone(), answer)).collect())
}

fn lines<T: for<'a> Deserialize<'a>>(path: &str) -> anyhow::Result<Vec<T>> {
    let text = fs::read_to_string(repository(path)).with_context(|| path.to_owned())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{path}: {line}"))).collect()
}

impl Case {
    /// The chat completion request for this case, greedy, with `extension` as its `secateur` object.
    pub fn body(&self, extension: &Value) -> anyhow::Result<Value> {
        let mut content = Vec::new();
        for image in &self.images {
            let bytes = fs::read(demo().join("eval").join(image))?;
            let url = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
            content.push(json!({"type": "image_url", "image_url": {"url": url}}));
        }
        content.push(json!({"type": "text", "text": self.prompt}));
        Ok(json!({
            "messages": [{"role": "user", "content": content}],
            "temperature": 0, "max_tokens": 48, "secateur": extension,
        }))
    }
}

/// The request extension of the reference: pruning off, dense transfer.
pub fn exact() -> Value {
    json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}})
}
