//! Reads `tools`, `tool_choice` and `parallel_tool_calls`.

use secateur_proto::ServiceError;
use serde_json::{Value, json};

use super::fields::{Fields, unsupported};
use crate::tools::{Choice, Function, ToolUse};

/// Most tools of one request.
const TOOLS_MAX: usize = 128;
/// Most characters of a function's name.
const NAME_MAX: usize = 128;

/// Reads what a request says about tools; `None` if it has none, or asks that none be called.
pub fn parse(fields: &Fields) -> Result<Option<ToolUse>, ServiceError> {
    let functions = functions(fields)?;
    let choice = choice(fields, &functions)?;
    let is_parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    Ok(choice.filter(|_| !functions.is_empty()).map(|choice| ToolUse { functions, choice, is_parallel }))
}

fn functions(fields: &Fields) -> Result<Vec<Function>, ServiceError> {
    let list = fields.list("tools")?.unwrap_or_default();
    if list.len() > TOOLS_MAX {
        return Err(fields.invalid("tools", format!("may hold at most {TOOLS_MAX} tools")));
    }
    let mut functions: Vec<Function> = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        let tool = Fields::of(tool, fields.path(&format!("tools[{index}]")))?;
        match tool.text("type")? {
            Some("function") => {}
            Some(other) => {
                return Err(unsupported(
                    tool.path("type"),
                    format!("tools of type {other} are not supported; function is"),
                ));
            }
            None => return Err(tool.invalid("type", "is required")),
        }
        let function = tool.object("function")?.ok_or_else(|| tool.invalid("function", "is required"))?;
        let name = function.text("name")?.ok_or_else(|| function.invalid("name", "is required"))?;
        let is_plain = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || "_-.".contains(one));
        if name.is_empty() || name.len() > NAME_MAX || !is_plain(name) {
            let rule = format!("must be 1 to {NAME_MAX} letters, digits, underscores, hyphens or dots");
            return Err(function.invalid("name", rule));
        }
        if functions.iter().any(|known| known.name == name) {
            return Err(function.invalid("name", "is the name of another tool too"));
        }
        let parameters = match function.get("parameters") {
            None => json!({"type": "object"}),
            // An empty schema allows anything; arguments are an object all the same.
            Some(Value::Object(schema)) if schema.is_empty() => json!({"type": "object"}),
            Some(schema @ Value::Object(_)) => schema.clone(),
            Some(_) => return Err(function.invalid("parameters", "must be a JSON schema")),
        };
        functions.push(Function { name: name.to_owned(), parameters });
    }
    Ok(functions)
}

/// Reads `tool_choice`; `None` if no function may be called.
fn choice(fields: &Fields, functions: &[Function]) -> Result<Option<Choice>, ServiceError> {
    let needs_tools = |choice| {
        if functions.is_empty() {
            return Err(fields.invalid("tool_choice", "is only allowed when there are tools"));
        }
        Ok(Some(choice))
    };
    match fields.get("tool_choice") {
        None => Ok(Some(Choice::Auto)),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(None),
            "auto" => Ok(Some(Choice::Auto)),
            "required" => needs_tools(Choice::Required),
            _ => Err(fields.invalid("tool_choice", "must be none, auto, required or a function")),
        },
        Some(value) => {
            let named = Fields::of(value, fields.path("tool_choice"))?;
            let function = named.object("function")?.ok_or_else(|| named.invalid("function", "is required"))?;
            let name = function.text("name")?.ok_or_else(|| function.invalid("name", "is required"))?;
            if !functions.iter().any(|known| known.name == name) {
                return Err(function.invalid("name", "must be the name of one of the tools"));
            }
            needs_tools(Choice::Named(name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<Option<ToolUse>, ServiceError> {
        parse(&Fields::of(&body, "").unwrap())
    }

    fn tool(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name, "description": "d", "parameters": {"type": "object"}}})
    }

    #[test]
    fn tools_and_choices_are_read() {
        assert_eq!(read(json!({})).unwrap(), None);
        assert_eq!(read(json!({"tools": [], "tool_choice": "auto"})).unwrap(), None);
        assert_eq!(read(json!({"tools": [tool("f")], "tool_choice": "none"})).unwrap(), None);
        let auto = read(json!({"tools": [tool("f"), tool("g")]})).unwrap().unwrap();
        assert_eq!((auto.functions.len(), auto.choice, auto.is_parallel), (2, Choice::Auto, true));
        let required = json!({"tools": [tool("f")], "tool_choice": "required", "parallel_tool_calls": false});
        let required = read(required).unwrap().unwrap();
        assert_eq!((required.choice, required.is_parallel), (Choice::Required, false));
        let named = json!({"tools": [tool("f")], "tool_choice": {"type": "function", "function": {"name": "f"}}});
        assert_eq!(read(named).unwrap().unwrap().choice, Choice::Named("f".into()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (json!({"tools": 5}), "tools"),
            (json!({"tools": [{}]}), "tools[0].type"),
            (json!({"tools": [{"type": "retrieval"}]}), "tools[0].type"),
            (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
            (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "tools[0].function.name"),
            (json!({"tools": [tool("f"), tool("f")]}), "tools[1].function.name"),
            (
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}),
                "tools[0].function.parameters",
            ),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tools": [tool("f")], "tool_choice": "always"}), "tool_choice"),
            (json!({"tools": [tool("f")], "tool_choice": {"function": {"name": "g"}}}), "tool_choice.function.name"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
