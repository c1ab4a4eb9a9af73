//! White space between the parts of a JSON document.

use llguidance::JsonCompileOptions;
use serde_json::Value;

/// The schema, allowing white space between a document's parts as models write it, but not without end: a model whose
/// likeliest token is a space would write nothing else. A schema that says itself what it allows keeps that.
pub fn with_bounded_space(mut schema: Value) -> Value {
    if schema.is_object() && schema.get("x-guidance").is_none() {
        let whitespace_pattern = Some(r"[\x20\x0A\x0D\x09]{1,24}".to_owned());
        JsonCompileOptions { whitespace_pattern, ..JsonCompileOptions::default() }.apply_to(&mut schema);
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Grammar, vocabulary::tests::vocabulary};

    /// How many spaces may stand behind an opening bracket.
    fn spaces(grammar: &Grammar) -> usize {
        let mut constraint = vocabulary().0.compile(grammar, &[]).unwrap();
        constraint.accept(u32::from(b'{')).unwrap();
        (0..100).take_while(|_| constraint.accept(u32::from(b' ')).is_ok()).count()
    }

    #[test]
    fn white_space_ends_also_where_a_schema_is_part_of_a_grammar() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]});
        assert_eq!(spaces(&Grammar::JsonSchema(schema.to_string())), 24);
        assert_eq!(spaces(&Grammar::Lark(format!("start: %json {}", with_bounded_space(schema.clone())))), 24);
        assert_eq!(spaces(&Grammar::Lark(format!("start: %json {schema}"))), 100);
    }

    #[test]
    fn what_a_schema_says_itself_stays() {
        for schema in [json!(true), json!({"x-guidance": {"whitespace_flexible": false}})] {
            assert_eq!(with_bounded_space(schema.clone()), schema);
        }
    }
}
