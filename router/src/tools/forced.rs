//! The grammar of an answer that has to be a call.

use secateur_grammar::{Grammar, with_bounded_space};
use serde_json::Value;

use super::{Choice, Dialect, Function, ToolUse};

/// The grammar of an answer that calls what `tools` demands; `None` where the model decides. Arguments are what the
/// function's schema describes, so they always parse.
pub fn grammar(dialect: Dialect, tools: &ToolUse) -> Option<Grammar> {
    let functions: Vec<&Function> = match &tools.choice {
        Choice::Auto => return None,
        Choice::Required => tools.functions.iter().collect(),
        Choice::Named(name) => tools.functions.iter().filter(|function| function.name == *name).collect(),
    };
    let is_many = tools.is_parallel && tools.choice == Choice::Required;
    let mut lines = vec![start(dialect, is_many).to_owned()];
    let alternatives: Vec<String> = (0..functions.len()).map(|at| format!("call_{at}")).collect();
    lines.push(format!("call: {}", alternatives.join(" | ")));
    for (at, function) in functions.into_iter().enumerate() {
        let head = format!(r#"{{"name": {}, "{}": "#, Value::from(function.name.as_str()), dialect.arguments_key());
        lines.push(format!(r#"call_{at}: {} arguments_{at} "}}""#, Value::from(head)));
        lines.push(format!("arguments_{at}: %json {}", with_bounded_space(function.parameters.clone())));
    }
    Some(Grammar::Lark(lines.join("\n")))
}

fn start(dialect: Dialect, is_many: bool) -> &'static str {
    match (dialect, is_many) {
        (Dialect::Hermes, false) => r#"start: "<tool_call>\n" call "\n</tool_call>""#,
        (Dialect::Hermes, true) => {
            "start: tagged (\"\\n\" tagged)*\ntagged: \"<tool_call>\\n\" call \"\\n</tool_call>\""
        }
        (Dialect::Mistral, false) => r#"start: "[" call "]""#,
        (Dialect::Mistral, true) => r#"start: "[" call (", " call)* "]""#,
        (Dialect::Llama | Dialect::Json, _) => "start: call",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(choice: Choice, is_parallel: bool) -> ToolUse {
        let function = |name: &str, parameters| Function { name: name.into(), parameters };
        let functions = vec![
            function("f", json!({"type": "object", "properties": {"x": {"type": "integer"}}})),
            function("g", json!({"type": "object"})),
        ];
        ToolUse { functions, choice, is_parallel }
    }

    #[test]
    fn forced_calls_have_a_grammar_and_free_ones_none() {
        assert_eq!(grammar(Dialect::Hermes, &tools(Choice::Auto, true)), None);
        let Some(Grammar::Lark(named)) = grammar(Dialect::Llama, &tools(Choice::Named("g".into()), true)) else {
            panic!()
        };
        assert!(named.contains(r#"call_0: "{\"name\": \"g\", \"parameters\": " arguments_0 "}""#), "{named}");
        assert!(!named.contains("call_1"));
        assert!(named.contains("whitespace_pattern"), "white space in arguments has an end: {named}");
        let Some(Grammar::Lark(any)) = grammar(Dialect::Hermes, &tools(Choice::Required, true)) else { panic!() };
        assert!(any.contains("call: call_0 | call_1") && any.contains("tagged)*"), "{any}");
    }
}
