//! `tools` and `tool_choice`: functions, which stand flat here and nested in a chat request.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use crate::{
    openai::fields::{Fields, unsupported},
    request::Origins,
};

/// Keys of a function that the model is told of.
const TOLD: [&str; 3] = ["name", "description", "parameters"];
/// Most characters of an unknown type that an error quotes.
const KIND_CHARS_MAX: usize = 40;

/// Tools and choice of a chat request.
#[derive(Debug, Default)]
pub struct Translated {
    /// `tools`, if there are any.
    pub tools: Option<Value>,
    /// `tool_choice`, if it was made.
    pub choice: Option<Value>,
    /// Names of the functions that may be called, if not all of them.
    pub allowed: Option<Vec<String>>,
}

/// Translates tools and choice, and records where they came from.
pub fn translate(fields: &Fields, origins: &mut Origins) -> Result<Translated, ServiceError> {
    let tools = tools(fields, origins)?;
    Ok(Translated { tools, ..choice(fields, origins)? })
}

fn tools(fields: &Fields, origins: &mut Origins) -> Result<Option<Value>, ServiceError> {
    let Some(list) = fields.list("tools")? else { return Ok(None) };
    let tool = |(index, tool)| {
        let path = format!("tools[{index}]");
        origins.record(format!("{path}.function"), path.as_str());
        let tool = Fields::of(tool, path)?;
        match tool.text("type")? {
            Some("function") => {}
            Some(other) => {
                let kind: String = other.chars().take(KIND_CHARS_MAX).collect();
                let message = format!("tools of type {kind} are not supported: nothing but functions of the client's");
                return Err(unsupported(tool.path("type"), message));
            }
            None => return Err(tool.invalid("type", "is required")),
        }
        tool.text("description")?;
        tool.flag("strict")?;
        let told = TOLD.into_iter().filter_map(|key| Some((key.to_owned(), tool.get(key)?.clone())));
        Ok(json!({"type": "function", "function": told.collect::<Map<_, _>>()}))
    };
    list.iter().enumerate().map(tool).collect::<Result<Value, _>>().map(Some)
}

fn choice(fields: &Fields, origins: &mut Origins) -> Result<Translated, ServiceError> {
    let choice = match fields.get("tool_choice") {
        None => return Ok(Translated::default()),
        Some(word @ Value::String(_)) => word.clone(),
        Some(value) => {
            let named = Fields::of(value, "tool_choice")?;
            match named.text("type")? {
                Some("function") => {
                    origins.record("tool_choice.function", "tool_choice");
                    let name = named.text("name")?.ok_or_else(|| named.invalid("name", "is required"))?;
                    json!({"type": "function", "function": {"name": name}})
                }
                Some("allowed_tools") => return allowed(fields, &named),
                Some(_) => {
                    let message = "tool_choice of this type is not supported; function or allowed_tools is";
                    return Err(unsupported(named.path("type"), message));
                }
                None => return Err(named.invalid("type", "is required")),
            }
        }
    };
    Ok(Translated { choice: Some(choice), ..Translated::default() })
}

/// Reads a choice among some of the tools.
fn allowed(fields: &Fields, choice: &Fields) -> Result<Translated, ServiceError> {
    let mode = match choice.text("mode")? {
        Some(mode @ ("auto" | "required")) => mode,
        Some(_) => return Err(choice.invalid("mode", "must be auto or required")),
        None => return Err(choice.invalid("mode", "is required")),
    };
    let known: Vec<&Value> =
        fields.list("tools")?.unwrap_or_default().iter().filter_map(|tool| tool.get("name")).collect();
    let list = choice.list("tools")?.filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| choice.invalid("tools", "must list at least one of the tools"))?;
    let name = |(index, tool)| {
        let tool = Fields::of(tool, format!("{}[{index}]", choice.path("tools")))?;
        let name = tool.text("name")?.ok_or_else(|| tool.invalid("name", "is required"))?;
        if known.iter().any(|known| *known == name) {
            Ok(name.to_owned())
        } else {
            Err(tool.invalid("name", "must be the name of one of the tools"))
        }
    };
    let names = list.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    Ok(Translated { tools: None, choice: Some(mode.into()), allowed: Some(names) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;

    fn read(body: Value) -> Result<(Translated, Origins), ServiceError> {
        let mut origins = Origins::default();
        let translated = translate(&Fields::of(&body, "").unwrap(), &mut origins)?;
        Ok((translated, origins))
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "name": name, "description": "d", "parameters": {"type": "object"}, "strict": true})
    }

    #[test]
    fn flat_functions_are_nested() {
        let choice = json!({"type": "function", "name": "f"});
        let (translated, origins) = read(json!({"tools": [tool("f")], "tool_choice": choice})).unwrap();
        let function = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
        assert_eq!(translated.tools, Some(json!([{"type": "function", "function": function}])));
        assert_eq!(translated.choice, Some(json!({"type": "function", "function": {"name": "f"}})));
        assert_eq!(translated.allowed, None);
        assert_eq!(origins.path("tools[0].function.parameters"), "tools[0].parameters");
        assert_eq!(origins.path("tool_choice.function.name"), "tool_choice.name");
        let (translated, _) = read(json!({"tool_choice": "none"})).unwrap();
        assert_eq!((translated.tools, translated.choice), (None, Some(json!("none"))));
    }

    #[test]
    fn a_choice_may_be_among_some() {
        let choice = json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]});
        let (translated, _) = read(json!({"tools": [tool("f"), tool("g")], "tool_choice": choice})).unwrap();
        assert_eq!((translated.choice, translated.allowed), (Some(json!("required")), Some(vec!["g".to_owned()])));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let choice = |choice: Value| json!({"tools": [tool("f")], "tool_choice": choice});
        for (body, param) in [
            (json!({"tools": {}}), "tools"),
            (json!({"tools": ["f"]}), "tools[0]"),
            (json!({"tools": [{"name": "f"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function", "name": "f", "description": 5}]}), "tools[0].description"),
            (json!({"tools": [{"type": "function", "name": "f", "strict": "yes"}]}), "tools[0].strict"),
            (choice(json!({"name": "f"})), "tool_choice.type"),
            (choice(json!({"type": "function"})), "tool_choice.name"),
            (choice(json!({"type": "allowed_tools", "mode": "auto", "tools": []})), "tool_choice.tools"),
            (choice(json!({"type": "allowed_tools", "mode": "any", "tools": [tool("f")]})), "tool_choice.mode"),
            (
                choice(json!({"type": "allowed_tools", "mode": "auto", "tools": [tool("g")]})),
                "tool_choice.tools[0].name",
            ),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        for kind in
            ["web_search", "file_search", "code_interpreter", "mcp", "image_generation", "local_shell", "custom"]
        {
            let error = read(json!({"tools": [tool("f"), {"type": kind}]})).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some("tools[1].type")));
            assert!(error.message.contains(kind), "{error}");
        }
        let error = read(choice(json!({"type": "file_search"}))).unwrap_err();
        assert_eq!(error.code, ErrorCode::UnsupportedParameter);
    }
}
