//! The documents of a checkpoint, read leniently: only what the router uses is looked at.

use std::io;

use serde_json::Value;

use super::{Documents, GenerationDefaults, LoadError};

/// The chat template: its own file wins over its JSON wrapper over the tokenizer's configuration, as in transformers.
pub fn chat_template(documents: &Documents, tokenizer_config: &Value) -> Result<Option<String>, LoadError> {
    let name = "chat_template.jinja";
    if let Some(bytes) = documents.bytes(name)? {
        let not_text = |error| LoadError::Read {
            path: documents.path().join(name),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        };
        return String::from_utf8(bytes).map(Some).map_err(not_text);
    }
    let wrapper = documents.json("chat_template.json")?;
    Ok(template_in(&wrapper["chat_template"]).or_else(|| template_in(&tokenizer_config["chat_template"])))
}

/// A template, or a list of named ones of which `default` counts.
fn template_in(value: &Value) -> Option<String> {
    match value {
        Value::String(template) => Some(template.clone()),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// A named token's text: `"</s>"` or `{"content": "</s>", ...}`.
pub fn token_text(tokenizer_config: &Value, key: &str) -> Option<String> {
    let value = &tokenizer_config[key];
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// One id or a list of ids.
pub fn token_ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

/// The sampling defaults of generation_config.json; what is out of range is passed over.
pub fn generation_defaults(generation_config: &Value) -> GenerationDefaults {
    let number = |key: &str| generation_config[key].as_f64();
    GenerationDefaults {
        is_greedy: generation_config["do_sample"] == Value::Bool(false),
        temperature: number("temperature").filter(|value| (0.0..=2.0).contains(value)),
        top_p: number("top_p").filter(|value| *value > 0.0 && *value <= 1.0),
        top_k: generation_config["top_k"].as_u64().and_then(|value| u32::try_from(value).ok()),
        min_p: number("min_p").filter(|value| (0.0..=1.0).contains(value)),
        repetition_penalty: number("repetition_penalty").filter(|value| *value > 0.0),
    }
}

/// A number that multimodal checkpoints keep under `text_config`.
pub fn text_config_u32(config: &Value, key: &str) -> Option<u32> {
    let nested = &config["text_config"][key];
    nested.as_u64().or_else(|| config[key].as_u64()).and_then(|value| u32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_templates_own_file_wins() {
        let folder = tempfile::tempdir().unwrap();
        let documents = Documents::of(folder.path()).unwrap();
        let config =
            json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "c"}]});
        assert_eq!(chat_template(&documents, &config).unwrap().as_deref(), Some("c"));
        std::fs::write(folder.path().join("chat_template.json"), r#"{"chat_template": "b"}"#).unwrap();
        assert_eq!(chat_template(&documents, &config).unwrap().as_deref(), Some("b"));
        std::fs::write(folder.path().join("chat_template.jinja"), "a").unwrap();
        assert_eq!(chat_template(&documents, &config).unwrap().as_deref(), Some("a"));
    }

    #[test]
    fn defaults_are_read_where_they_make_sense() {
        let config = json!({"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.05});
        let defaults = generation_defaults(&config);
        assert_eq!((defaults.temperature, defaults.top_p, defaults.top_k), (Some(0.7), Some(0.8), Some(20)));
        assert_eq!((defaults.min_p, defaults.repetition_penalty), (Some(0.1), Some(1.05)));
        let odd = json!({"temperature": 9, "top_p": 0, "top_k": -1, "min_p": 2, "repetition_penalty": 0});
        assert_eq!(generation_defaults(&odd), GenerationDefaults::default());
        assert!(generation_defaults(&json!({"do_sample": false})).is_greedy);
    }

    #[test]
    fn ids_and_texts_come_in_two_shapes() {
        assert_eq!(token_ids(&json!(2)), [2]);
        assert_eq!(token_ids(&json!([2, 3])), [2, 3]);
        assert_eq!(token_ids(&json!(null)), [0u32; 0]);
        assert_eq!(token_text(&json!({"bos_token": {"content": "<s>"}}), "bos_token").as_deref(), Some("<s>"));
    }
}
