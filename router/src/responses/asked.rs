//! What of a request its reply repeats.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use crate::openai::fields::{Fields, invalid};

/// Most bytes of one repeated field as JSON. The reply holds them until the answer ends, and a stream sends them thrice.
const BYTES_MAX: usize = 1 << 20;
/// Most entries of `metadata`, and most characters of their keys and values.
const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);

/// The repeated fields of a request that is otherwise valid, with the values that hold where it gives none.
pub fn read(fields: &Fields) -> Result<Map<String, Value>, ServiceError> {
    for text in ["user", "safety_identifier", "prompt_cache_key"] {
        fields.text(text)?;
    }
    fields.flag("store")?;
    fields.integer_from("max_tool_calls", 1)?;
    let given = |key: &str| fields.get(key).cloned().unwrap_or_default();
    let or = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
    let asked = [
        ("background", false.into()),
        ("conversation", Value::Null),
        ("instructions", given("instructions")),
        ("max_output_tokens", given("max_output_tokens")),
        ("max_tool_calls", given("max_tool_calls")),
        ("metadata", metadata(fields)?),
        ("parallel_tool_calls", or("parallel_tool_calls", true.into())),
        ("previous_response_id", Value::Null),
        ("prompt", Value::Null),
        ("prompt_cache_key", given("prompt_cache_key")),
        ("reasoning", reasoning(fields)?),
        ("safety_identifier", given("safety_identifier")),
        ("service_tier", "default".into()),
        // Whatever was asked for: nothing is kept.
        ("store", false.into()),
        ("temperature", given("temperature")),
        ("text", text(fields)?),
        ("tool_choice", or("tool_choice", "auto".into())),
        ("tools", tools(fields)?),
        ("top_logprobs", or("top_logprobs", 0.into())),
        ("top_p", given("top_p")),
        ("truncation", "disabled".into()),
        ("user", given("user")),
    ];
    let large = asked.iter().find(|(name, value)| *name != "instructions" && value.to_string().len() > BYTES_MAX);
    if let Some((name, _)) = large {
        return Err(fields.invalid(name, format!("may take at most {BYTES_MAX} bytes")));
    }
    Ok(asked.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn metadata(fields: &Fields) -> Result<Value, ServiceError> {
    let (entries_max, key_max, value_max) = METADATA_MAX;
    let Some(metadata) = fields.object("metadata")? else { return Ok(json!({})) };
    if metadata.keys().count() > entries_max {
        return Err(fields.invalid("metadata", format!("may have at most {entries_max} entries")));
    }
    for (key, value) in metadata.entries() {
        if key.chars().count() > key_max {
            return Err(fields.invalid("metadata", format!("may have keys of at most {key_max} characters")));
        }
        if value.as_str().is_none_or(|text| text.chars().count() > value_max) {
            let path = metadata.path(key);
            let message = format!("{path} must be a string of at most {value_max} characters");
            return Err(invalid(path, message));
        }
    }
    Ok(fields.get("metadata").cloned().unwrap_or_default())
}

fn reasoning(fields: &Fields) -> Result<Value, ServiceError> {
    let asked = fields.object("reasoning")?;
    let given = |key| asked.as_ref().and_then(|asked| asked.get(key));
    Ok(json!({"effort": given("effort"), "summary": given("summary")}))
}

fn text(fields: &Fields) -> Result<Value, ServiceError> {
    let format = fields.object("text")?.and_then(|text| text.get("format"));
    Ok(json!({"format": format.unwrap_or(&json!({"type": "text"})), "verbosity": "medium"}))
}

fn tools(fields: &Fields) -> Result<Value, ServiceError> {
    let tool = |tool: &Value| {
        let given = |key| tool.get(key);
        json!({"type": "function", "name": given("name"), "description": given("description"),
            "parameters": given("parameters"), "strict": given("strict")})
    };
    Ok(fields.list("tools")?.unwrap_or_default().iter().map(tool).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: Value) -> Result<Map<String, Value>, ServiceError> {
        read(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn what_was_not_asked_has_its_default() {
        let asked = asked(json!({"temperature": null, "metadata": null})).unwrap();
        for (name, value) in [
            ("temperature", json!(null)),
            ("parallel_tool_calls", json!(true)),
            ("tool_choice", json!("auto")),
            ("tools", json!([])),
            ("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
            ("reasoning", json!({"effort": null, "summary": null})),
            ("metadata", json!({})),
            ("truncation", json!("disabled")),
            ("store", json!(false)),
        ] {
            assert_eq!(asked[name], value, "{name}");
        }
    }

    #[test]
    fn what_was_asked_is_repeated() {
        let format = json!({"type": "json_schema", "name": "x", "schema": {}});
        let body = json!({"temperature": 0.5, "max_output_tokens": 7, "metadata": {"a": "b"}, "user": "u", "store": true,
            "tools": [{"type": "function", "name": "f", "x": 1}], "text": {"format": format}, "instructions": "i",
            "reasoning": {"effort": "low"}, "tool_choice": "required"});
        let asked = asked(body.clone()).unwrap();
        for name in ["temperature", "max_output_tokens", "metadata", "user", "instructions", "tool_choice"] {
            assert_eq!(asked[name], body[name], "{name}");
        }
        assert_eq!(asked["text"]["format"], format);
        assert_eq!(asked["reasoning"], json!({"effort": "low", "summary": null}));
        let tool = json!({"type": "function", "name": "f", "description": null, "parameters": null, "strict": null});
        assert_eq!(asked["tools"], json!([tool]));
        assert_eq!(asked["store"], false);
    }

    #[test]
    fn what_is_repeated_is_bounded() {
        let many: Map<String, Value> = (0..17).map(|index| (index.to_string(), "x".into())).collect();
        for (body, param) in [
            (json!({"metadata": many}), "metadata"),
            (json!({"metadata": {"x".repeat(65): "x"}}), "metadata"),
            (json!({"metadata": {"a": "x".repeat(513)}}), "metadata.a"),
            (json!({"metadata": {"a": 1}}), "metadata.a"),
            (json!({"metadata": "x"}), "metadata"),
            (json!({"user": 5}), "user"),
            (json!({"user": "x".repeat(BYTES_MAX)}), "user"),
            (json!({"tools": [{"name": "x".repeat(BYTES_MAX)}]}), "tools"),
            (json!({"max_tool_calls": 0}), "max_tool_calls"),
        ] {
            assert_eq!(asked(body).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
