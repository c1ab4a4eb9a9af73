//! Parameters that are known, would change the output, and are not built: refused by name unless their value is the one
//! that changes nothing. Silently ignoring them would answer another question than the one asked.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, unsupported};

/// Whether a value leaves the output as it is.
type IsNeutral = fn(&Value) -> bool;

const TABLE: &[(&str, IsNeutral)] = &[
    ("prompt_logprobs", never),
    ("length_penalty", is_one),
    ("typical_p", is_one),
    ("no_repeat_ngram_size", is_zero),
    ("use_beam_search", is_false),
    ("tools", is_empty),
    ("functions", is_empty),
    ("tool_choice", is_no_forced_tool),
    ("function_call", is_no_forced_tool),
    ("response_format", is_text_format),
    ("modalities", is_text_only),
    ("audio", never),
    ("web_search_options", never),
    ("reasoning_effort", is_none_word),
    ("reasoning", is_empty),
    ("verbosity", is_medium_word),
    ("guided_json", never),
    ("guided_regex", never),
    ("guided_choice", never),
    ("guided_grammar", never),
    ("regex", never),
    ("ebnf", never),
    ("json_schema", never),
    ("stop_regex", is_empty),
    ("structured_outputs", never),
    ("bad_words", is_empty),
    ("allowed_token_ids", never),
    ("logits_processors", is_empty),
    ("truncate_prompt_tokens", never),
    ("include_stop_str_in_output", is_false),
    ("skip_special_tokens", is_true),
    ("return_token_ids", is_false),
    ("return_tokens_as_token_ids", is_false),
    ("add_special_tokens", is_false),
    ("echo", is_false),
    ("documents", is_empty),
    ("chat_template", never),
    ("chat_template_kwargs", is_empty),
    ("add_generation_prompt", is_true),
    ("continue_final_message", is_false),
    ("mm_processor_kwargs", is_empty),
];

/// Refuses the first parameter that would change the output.
pub fn refuse(fields: &Fields) -> Result<(), ServiceError> {
    refuse_besides(fields, &[])
}

/// The same where some of them are `supported`.
pub fn refuse_besides(fields: &Fields, supported: &[&str]) -> Result<(), ServiceError> {
    for (name, is_neutral) in TABLE.iter().filter(|(name, _)| !supported.contains(name)) {
        if fields.get(name).is_some_and(|value| !is_neutral(value)) {
            return Err(unsupported(*name, format!("{name} with this value is not supported; leave it out")));
        }
    }
    Ok(())
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

/// Without tools, "none" and "auto" both mean that none is called.
fn is_no_forced_tool(value: &Value) -> bool {
    matches!(value.as_str(), Some("none" | "auto"))
}

fn is_text_format(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("text")
}

fn is_text_only(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str() == Some("text")))
}

fn is_none_word(value: &Value) -> bool {
    value.as_str() == Some("none")
}

fn is_medium_word(value: &Value) -> bool {
    value.as_str() == Some("medium")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    #[test]
    fn neutral_values_pass() {
        let body = json!({
            "length_penalty": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "modalities": ["text"], "audio": null,
        });
        refuse(&Fields::of(&body, "").unwrap()).unwrap();
    }

    #[test]
    fn others_are_refused_by_name() {
        for (name, value) in [
            ("prompt_logprobs", json!(1)),
            ("typical_p", json!(0.5)),
            ("stop_regex", json!("x")),
            ("tools", json!([{"type": "function"}])),
            ("response_format", json!({"type": "json_object"})),
            ("response_format", json!("x")),
            ("length_penalty", json!("x")),
            ("return_token_ids", json!(true)),
            ("modalities", json!(["text", "audio"])),
            ("functions", json!([{}])),
        ] {
            let body = json!({name: value});
            let error = refuse(&Fields::of(&body, "").unwrap()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(name)));
        }
    }
}
