//! `chat_template_kwargs`: variables for the chat template besides the conversation (`enable_thinking`, ...).

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, unsupported};
use crate::request::Field;

const FIELD: &str = "chat_template_kwargs";
/// Most entries; no template has more switches.
const ENTRIES_MAX: usize = 64;
/// Variables that the router sets itself or does not support.
const RESERVED: [&str; 7] =
    ["messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template", "tokenize"];

/// Reads the field.
pub fn parse(fields: &Fields) -> Result<Vec<Field>, ServiceError> {
    let Some(kwargs) = fields.object(FIELD)? else { return Ok(Vec::new()) };
    if kwargs.keys().count() > ENTRIES_MAX {
        return Err(fields.invalid(FIELD, format!("may have at most {ENTRIES_MAX} entries")));
    }
    if let Some(name) = kwargs.keys().find(|name| RESERVED.contains(name) && kwargs.get(name).is_some()) {
        let path = kwargs.path(name);
        return Err(unsupported(path.clone(), format!("{path} is not supported; leave it out")));
    }
    let field =
        |(name, value): (&str, &Value)| Field { name: name.to_owned(), value: value.clone(), param: kwargs.path(name) };
    Ok(kwargs.entries().filter(|(name, _)| !RESERVED.contains(name)).map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    fn read(kwargs: Value) -> Result<Vec<Field>, ServiceError> {
        let body = json!({"chat_template_kwargs": kwargs});
        parse(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn variables_are_read_and_bounded() {
        assert_eq!(read(json!(null)).unwrap(), []);
        assert_eq!(read(json!({"tools": null})).unwrap(), []);
        let fields = read(json!({"enable_thinking": false})).unwrap();
        assert_eq!((&*fields[0].name, &*fields[0].param), ("enable_thinking", "chat_template_kwargs.enable_thinking"));
        let many: serde_json::Map<String, Value> = (0..65).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(read(many.into()).unwrap_err().param.as_deref(), Some("chat_template_kwargs"));
        assert_eq!(read(json!([1])).unwrap_err().param.as_deref(), Some("chat_template_kwargs"));
    }

    #[test]
    fn what_the_router_sets_is_refused() {
        let error = read(json!({"tools": []})).unwrap_err();
        assert_eq!(
            (error.code, &*error.message),
            (ErrorCode::UnsupportedParameter, "chat_template_kwargs.tools is not supported; leave it out")
        );
    }
}
