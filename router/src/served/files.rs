//! Reads values of a checkpoint's documents leniently: only the values that the router uses are looked at.

use serde_json::Value;

/// The text of a token, written as `"</s>"` or `{"content": "</s>", ...}`.
pub fn text_of_token(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// Token ids, written as one id or a list of ids.
pub fn token_ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
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
    fn ids_and_texts_come_in_two_shapes() {
        assert_eq!(token_ids(&json!(2)), [2]);
        assert_eq!(token_ids(&json!([2, 3])), [2, 3]);
        assert_eq!(token_ids(&json!(null)), [0u32; 0]);
        assert_eq!(text_of_token(&json!({"content": "<s>"})).as_deref(), Some("<s>"));
    }
}
