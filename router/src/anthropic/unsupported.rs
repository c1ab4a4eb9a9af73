//! Refuses what Anthropic's API knows, what would change the answer, and what is not built here.

use secateur_proto::ServiceError;
use serde_json::Value;

use crate::openai::fields::{Fields, unsupported};

/// Parameters that are not supported, unless they are empty.
const PARAMETERS: [&str; 3] = ["container", "context_management", "mcp_servers"];

/// Parameters of OpenAI's API and of other servers, and where Anthropic's has them. A client that sends one expects it to
/// be obeyed.
const ELSEWHERE: [(&str, &str); 13] = [
    ("max_completion_tokens", "max_tokens"),
    ("max_output_tokens", "max_tokens"),
    ("max_tokens_to_sample", "max_tokens"),
    ("stop", "stop_sequences"),
    ("response_format", "output_config.format"),
    ("reasoning_effort", "output_config.effort"),
    ("reasoning", "thinking"),
    ("functions", "tools"),
    ("function_call", "tool_choice"),
    ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
    ("instructions", "system"),
    ("input", "messages"),
    ("prompt", "messages"),
];

/// Further ones that would change the answer, and that Anthropic's API has nowhere.
const NOWHERE: [&str; 25] = [
    "chat_template_kwargs",
    "continue_final_message",
    "frequency_penalty",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_json_object",
    "guided_regex",
    "ignore_eos",
    "include_stop_str_in_output",
    "json_schema",
    "logit_bias",
    "logprobs",
    "min_p",
    "min_tokens",
    "n",
    "presence_penalty",
    "prompt_logprobs",
    "regex",
    "repetition_penalty",
    "return_tokens_as_token_ids",
    "seed",
    "stop_token_ids",
    "structured_outputs",
    "top_logprobs",
];

/// Blocks of the API that are not supported.
const BLOCKS: [&str; 15] = [
    "document",
    "search_result",
    "container_upload",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "tool_reference",
    "mcp_tool_use",
    "mcp_tool_result",
    "browser_state",
    "compaction",
];

/// Refuses the first parameter that would change the answer.
pub fn refuse(fields: &Fields) -> Result<(), ServiceError> {
    if let Some(name) = PARAMETERS.iter().find(|name| fields.get(name).is_some_and(|value| !is_empty(value))) {
        return Err(unsupported(*name, format!("{name} is not supported; leave it out")));
    }
    if let Some((name, instead)) = ELSEWHERE.into_iter().find(|(name, _)| fields.get(name).is_some()) {
        return Err(unsupported(name, format!("{name} is not a parameter of this API; use {instead}")));
    }
    match NOWHERE.into_iter().find(|name| fields.get(name).is_some_and(|value| !is_neutral(name, value))) {
        Some(name) => {
            let message = format!("{name} is not a parameter of this API; use /v1/chat/completions, or leave it out");
            Err(unsupported(name, message))
        }
        None => Ok(()),
    }
}

/// Refuses a picture that is to be changed before it is looked at.
pub fn refuse_transformations(block: &Fields) -> Result<(), ServiceError> {
    match block.get("transformations") {
        Some(value) if !is_empty(value) => {
            let path = block.path("transformations");
            Err(unsupported(path.clone(), format!("{path} is not supported; leave it out")))
        }
        _ => Ok(()),
    }
}

/// Whether the API has blocks of this type, which are not supported here.
pub fn is_known_block(kind: &str) -> bool {
    BLOCKS.contains(&kind)
}

/// Whether this value of a parameter that the API does not have changes nothing.
fn is_neutral(name: &str, value: &Value) -> bool {
    match name {
        "seed" => false,
        "n" | "repetition_penalty" => value.as_f64() == Some(1.0),
        _ => *value == false || value.as_f64() == Some(0.0) || is_empty(value),
    }
}

/// Whether a value asks for nothing: it is empty, or all that it holds is.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.values().all(|item| item.is_null() || item.as_array().is_some_and(Vec::is_empty)),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    #[test]
    fn parameters_of_other_apis_are_not_ignored() {
        for (name, value, word) in [
            ("stop", json!(["a"]), "use stop_sequences"),
            ("response_format", json!({"type": "json_object"}), "use output_config.format"),
            ("prompt", json!("a"), "use messages"),
            ("seed", json!(0), "use /v1/chat/completions"),
            ("n", json!(2), "use /v1/chat/completions"),
            ("logprobs", json!(true), "use /v1/chat/completions"),
            ("guided_regex", json!("a"), "use /v1/chat/completions"),
        ] {
            let error = refuse(&Fields::of(&json!({name: value}), "").unwrap()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(name)));
            assert!(error.message.contains(word), "{error}");
        }
        let neutral = json!({"stop": null, "n": 1, "logprobs": false, "min_p": 0, "repetition_penalty": 1.0,
            "frequency_penalty": 0.0, "logit_bias": {}, "stop_token_ids": [], "seed": null});
        refuse(&Fields::of(&neutral, "").unwrap()).unwrap();
    }

    #[test]
    fn what_asks_for_nothing_passes_and_the_rest_is_refused_by_name() {
        let body = json!({"container": null, "mcp_servers": [], "context_management": {"edits": []}, "whatever": 1});
        refuse(&Fields::of(&body, "").unwrap()).unwrap();
        for (name, value) in [
            ("container", json!("c")),
            ("container", json!({"skills": [{"type": "anthropic"}]})),
            ("context_management", json!({"edits": [{"type": "clear_tool_uses_20250919"}]})),
            ("mcp_servers", json!([{"type": "url", "url": "http://x", "name": "x"}])),
        ] {
            let body = json!({name: value});
            let error = refuse(&Fields::of(&body, "").unwrap()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(name)));
            assert_eq!(error.message, format!("{name} is not supported; leave it out"));
        }
    }
}
