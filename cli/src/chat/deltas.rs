//! The pieces of text in the chunks of a stream: words, reasoning, and calls of tools written out.

use serde_json::Value;

/// Keys under which servers send reasoning.
const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words of the answer, or of a call.
    Text(String),
    /// Words that the model says to itself.
    Reasoning(String),
}

/// Turns chunks into pieces, one after the other.
#[derive(Debug, Default)]
pub struct Deltas {
    /// Number of the call whose arguments arrive.
    call: Option<u64>,
    /// Whether text stands on the current line.
    is_in_line: bool,
}

impl Deltas {
    /// The pieces of a chunk's first choice.
    pub fn pieces(&mut self, chunk: &Value) -> Vec<Piece> {
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        let mut pieces = Vec::new();
        if let Some(words) = REASONING.iter().find_map(|key| words(&delta[*key])) {
            pieces.push(Piece::Reasoning(words.to_owned()));
        }
        let mut text = String::new();
        if let Some(words) = words(&delta["content"]) {
            self.close(&mut text);
            text.push_str(words);
        }
        for part in delta["tool_calls"].as_array().into_iter().flatten() {
            self.call(part, &mut text);
        }
        if choice["finish_reason"].is_string() {
            self.close(&mut text);
        }
        if !text.is_empty() {
            self.is_in_line = !text.ends_with('\n');
            pieces.push(Piece::Text(text));
        }
        pieces
    }

    /// Writes a part of a call: its name in front of its first part.
    fn call(&mut self, part: &Value, text: &mut String) {
        let index = part["index"].as_u64().unwrap_or(0);
        let function = &part["function"];
        if self.call != Some(index) {
            self.close(text);
            let is_in_line = if text.is_empty() { self.is_in_line } else { !text.ends_with('\n') };
            if is_in_line {
                text.push('\n');
            }
            text.push_str(words(&function["name"]).unwrap_or("?"));
            text.push('(');
            self.call = Some(index);
        }
        text.push_str(words(&function["arguments"]).unwrap_or_default());
    }

    fn close(&mut self, text: &mut String) {
        if self.call.take().is_some() {
            text.push_str(")\n");
        }
    }
}

fn words(value: &Value) -> Option<&str> {
    value.as_str().filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(deltas: &[Value]) -> (String, String) {
        let mut reader = Deltas::default();
        let (mut text, mut reasoning) = (String::new(), String::new());
        for delta in deltas {
            let finish = delta.is_null().then_some("tool_calls");
            for piece in reader.pieces(&json!({"choices": [{"delta": delta, "finish_reason": finish}]})) {
                match piece {
                    Piece::Text(words) => text.push_str(&words),
                    Piece::Reasoning(words) => reasoning.push_str(&words),
                }
            }
        }
        (text, reasoning)
    }

    #[test]
    fn words_are_joined() {
        let deltas = [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "hm", "content": null}),
            json!({"reasoning": "!"}),
            json!({"content": "A "}),
            json!({"content": "b."}),
            json!({}),
        ];
        assert_eq!(read(&deltas), ("A b.".to_owned(), "hm!".to_owned()));
    }

    #[test]
    fn calls_are_written_out() {
        let part = |index: u64, function: Value| json!({"tool_calls": [{"index": index, "function": function}]});
        let deltas = [
            json!({"content": "Well."}),
            part(0, json!({"name": "weather", "arguments": "{\"city\": "})),
            part(0, json!({"arguments": "\"Oslo\"}"})),
            part(1, json!({"name": "time", "arguments": "{}"})),
            Value::Null,
        ];
        assert_eq!(read(&deltas).0, "Well.\nweather({\"city\": \"Oslo\"})\ntime({})\n");
        let odd = [json!({"tool_calls": [{}, {"function": 3}]}), json!({"content": "x"}), json!({"tool_calls": "y"})];
        assert_eq!(read(&odd).0, "?()\nx");
    }

    #[test]
    fn chunks_of_another_shape_have_no_pieces() {
        for chunk in [json!({}), json!({"choices": []}), json!({"choices": [{"delta": {"content": 3}}]}), json!("x")] {
            assert_eq!(Deltas::default().pieces(&chunk), []);
        }
    }
}
