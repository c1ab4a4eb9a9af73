//! Refuses what Anthropic's API knows, what would change the answer, and what is not built here.

use secateur_proto::ServiceError;
use serde_json::Value;

use crate::openai::fields::{Fields, unsupported};

/// Parameters that are not supported, unless they are empty.
const PARAMETERS: [&str; 3] = ["container", "context_management", "mcp_servers"];

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
    match PARAMETERS.iter().find(|name| fields.get(name).is_some_and(|value| !is_empty(value))) {
        Some(name) => Err(unsupported(*name, format!("{name} is not supported; leave it out"))),
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
