//! `tools` and `tool_choice` as OpenAI's.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use crate::{
    openai::fields::{Fields, unsupported},
    request::Origins,
};

/// What a request says about tools, as OpenAI's fields.
#[derive(Debug, Default)]
pub struct Tools {
    /// `tools`, `tool_choice` and `parallel_tool_calls`.
    pub fields: Map<String, Value>,
    /// Names of the tools whose input is to be streamed while it is written.
    pub eager: Vec<String>,
}

/// Reads them; records where the fields come from.
pub fn parse(fields: &Fields, origins: &mut Origins) -> Result<Tools, ServiceError> {
    let mut tools = Tools::default();
    if let Some(list) = fields.list("tools")? {
        let mut functions = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let path = format!("tools[{index}]");
            let tool = Fields::of(value, path.clone())?;
            functions.push(json!({"type": "function", "function": function(&tool)?}));
            origins.record(format!("{path}.function.parameters"), format!("{path}.input_schema"));
            origins.record(format!("{path}.function"), path);
            if let (true, Some(name)) = (tool.flag("eager_input_streaming")?.unwrap_or(false), tool.text("name")?) {
                tools.eager.push(name.to_owned());
            }
        }
        tools.fields.insert("tools".to_owned(), functions.into());
    }
    if let Some(choice) = fields.object("tool_choice")? {
        tools.fields.insert("tool_choice".to_owned(), tool_choice(&choice)?);
        origins.record("tool_choice.function", "tool_choice");
        if let Some(is_single) = choice.flag("disable_parallel_tool_use")? {
            tools.fields.insert("parallel_tool_calls".to_owned(), (!is_single).into());
            origins.record("parallel_tool_calls", "tool_choice.disable_parallel_tool_use");
        }
    }
    Ok(tools)
}

fn function(tool: &Fields) -> Result<Value, ServiceError> {
    match tool.text("type")? {
        None | Some("custom") => {}
        Some(other) => {
            let message = format!("tools of type {other} are not supported; custom is");
            return Err(unsupported(tool.path("type"), message));
        }
    }
    let name = tool.text("name")?.ok_or_else(|| tool.invalid("name", "is required"))?;
    tool.object("input_schema")?.ok_or_else(|| tool.invalid("input_schema", "is required"))?;
    let mut function = Map::new();
    function.insert("name".to_owned(), name.into());
    if let Some(description) = tool.text("description")? {
        function.insert("description".to_owned(), description.into());
    }
    if let Some(schema) = tool.get("input_schema") {
        function.insert("parameters".to_owned(), schema.clone());
    }
    Ok(function.into())
}

fn tool_choice(choice: &Fields) -> Result<Value, ServiceError> {
    match choice.text("type")?.ok_or_else(|| choice.invalid("type", "is required"))? {
        "auto" => Ok("auto".into()),
        "any" => Ok("required".into()),
        "none" => Ok("none".into()),
        "tool" => {
            let name = choice.text("name")?.ok_or_else(|| choice.invalid("name", "is required"))?;
            Ok(json!({"type": "function", "function": {"name": name}}))
        }
        _ => Err(choice.invalid("type", "must be auto, any, tool or none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;

    fn read(body: Value) -> Result<(Tools, Origins), ServiceError> {
        let mut origins = Origins::default();
        Ok((parse(&Fields::of(&body, "").unwrap(), &mut origins)?, origins))
    }

    fn tool(extra: Value) -> Value {
        let mut tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}});
        tool.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        tool
    }

    #[test]
    fn tools_become_functions() {
        let choice = json!({"type": "any", "disable_parallel_tool_use": true});
        let custom = tool(json!({"type": "custom", "name": "g", "eager_input_streaming": true, "cache_control": {}}));
        let (tools, origins) = read(json!({"tools": [tool(json!({})), custom], "tool_choice": choice})).unwrap();
        let function = |name: &str| {
            let function = json!({"name": name, "description": "d", "parameters": {"type": "object"}});
            json!({"type": "function", "function": function})
        };
        let expected =
            json!({"tools": [function("f"), function("g")], "tool_choice": "required", "parallel_tool_calls": false});
        assert_eq!((Value::from(tools.fields), tools.eager), (expected, vec!["g".to_owned()]));
        assert_eq!(origins.path("tools[1].function.name"), "tools[1].name");
        assert_eq!(origins.path("tools[1].function.parameters.x"), "tools[1].input_schema.x");
        assert!(read(json!({})).unwrap().0.fields.is_empty());
    }

    #[test]
    fn every_choice_has_its_word() {
        let named = json!({"type": "function", "function": {"name": "f"}});
        for (choice, expected) in [
            (json!({"type": "auto"}), json!("auto")),
            (json!({"type": "any"}), json!("required")),
            (json!({"type": "none"}), json!("none")),
            (json!({"type": "tool", "name": "f"}), named),
        ] {
            let (tools, _) = read(json!({"tool_choice": choice})).unwrap();
            assert_eq!(tools.fields["tool_choice"], expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ErrorCode::{InvalidRequest, UnsupportedParameter};
        for (body, param, code) in [
            (json!({"tools": {}}), "tools", InvalidRequest),
            (json!({"tools": [5]}), "tools[0]", InvalidRequest),
            (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema", InvalidRequest),
            (json!({"tools": [tool(json!({"input_schema": "x"}))]}), "tools[0].input_schema", InvalidRequest),
            (json!({"tools": [{"input_schema": {}}]}), "tools[0].name", InvalidRequest),
            (
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
                "tools[0].type",
                UnsupportedParameter,
            ),
            (json!({"tool_choice": "auto"}), "tool_choice", InvalidRequest),
            (json!({"tool_choice": {}}), "tool_choice.type", InvalidRequest),
            (json!({"tool_choice": {"type": "required"}}), "tool_choice.type", InvalidRequest),
            (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name", InvalidRequest),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{body}");
        }
    }
}
