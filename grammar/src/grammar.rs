//! What is asked for.

use serde_json::{Value, json};

/// What an answer must look like, from its first token to its last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// A JSON document that this schema (itself JSON) describes.
    JsonSchema(String),
    /// A text that this regular expression matches as a whole, in the syntax of Rust's `regex` without anchors.
    Regex(String),
    /// A grammar in llguidance's variant of Lark.
    Lark(String),
}

impl Grammar {
    /// Any JSON object.
    pub fn json_object() -> Grammar {
        Grammar::JsonSchema(json!({"type": "object"}).to_string())
    }

    /// Exactly one of these texts.
    pub fn choice<'a>(texts: impl IntoIterator<Item = &'a str>) -> Grammar {
        // A JSON string is a string of the grammar's language, escapes included.
        let quoted: Vec<String> = texts.into_iter().map(|text| Value::from(text).to_string()).collect();
        Grammar::Lark(format!("start: {}", quoted.join(" | ")))
    }
}
