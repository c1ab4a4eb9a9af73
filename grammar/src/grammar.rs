//! What is asked for.

use serde_json::{Value, json};

/// What an answer must look like, from its first token to its last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// A JSON document that this schema (itself JSON) describes.
    JsonSchema(String),
    /// A text that this regular expression matches as a whole, in the syntax of Rust's `regex` without anchors.
    Regex(String),
    /// A grammar in llguidance's variant of Lark.
    Lark(String),
}

impl Grammar {
    /// A text that this regular expression matches as a whole. `\d` and `\D` are about the digits 0 to 9, as in the other
    /// engines that take grammars, not about those of every script.
    pub fn regex(expression: &str) -> Grammar {
        let mut ascii = String::with_capacity(expression.len());
        let mut rest = expression.chars();
        while let Some(character) = rest.next() {
            match (character, rest.clone().next()) {
                // A class may stand inside a class.
                ('\\', Some('d')) => ascii.push_str("[0-9]"),
                ('\\', Some('D')) => ascii.push_str("[^0-9]"),
                ('\\', Some(escaped)) => ascii.extend([character, escaped]),
                _ => {
                    ascii.push(character);
                    continue;
                }
            }
            rest.next();
        }
        Grammar::Regex(ascii)
    }

    /// Any JSON object.
    pub fn json_object() -> Grammar {
        Grammar::JsonSchema(json!({"type": "object"}).to_string())
    }

    /// Exactly one of these texts.
    pub fn choice<'a>(texts: impl IntoIterator<Item = &'a str>) -> Grammar {
        // A JSON string is a string of the grammar's language, escapes included.
        let quoted: Vec<String> = texts.into_iter().map(|text| Value::from(text).to_string()).collect();
        Grammar::Lark(format!("start: {}", quoted.join(" | ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_ascii() {
        let regex = |expression: &str, expected: &str| {
            assert_eq!(Grammar::regex(expression), Grammar::Regex(expected.to_owned()));
        };
        regex(r"\d{4}-[\da-f]\D", "[0-9]{4}-[[0-9]a-f][^0-9]");
        regex(r"\\d\n\", r"\\d\n\");
    }
}
