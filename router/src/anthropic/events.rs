//! The objects that a reply is made of, as they stand in JSON.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    reply::{Call, event},
    request::{FinishReason, Receipt, Usage},
};

/// Key under which arguments that are no JSON object are passed on, as Anthropic's guide suggests.
const INVALID_JSON: &str = "INVALID_JSON";

/// A message, whole or as its stream begins.
#[derive(Serialize)]
pub struct Message<'a> {
    /// Id of the message, `msg_...`.
    pub id: &'a str,
    /// `message`.
    pub r#type: &'static str,
    /// `assistant`.
    pub role: &'static str,
    /// Name under which the model is served.
    pub model: &'a str,
    /// The answer.
    pub content: Vec<Block>,
    /// Why it ended.
    #[serde(flatten)]
    pub end: End<'a>,
    /// Token counts.
    pub usage: MessageUsage,
    /// The receipt; a stream has it in its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secateur: Option<&'a Receipt>,
}

/// Why a message ended; both are null while it has not.
#[derive(Default, Serialize)]
pub struct End<'a> {
    /// The reason.
    pub stop_reason: Option<&'static str>,
    /// The stop text that ended it, if one did.
    pub stop_sequence: Option<&'a str>,
}

/// A block of the content.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// What the model thought.
    Thinking { thinking: String, signature: &'static str },
    /// What it says.
    Text { text: String },
    /// A call of a tool.
    ToolUse { id: String, name: String, input: Value },
}

/// An event of a stream.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The message begins, without content.
    MessageStart { message: Message<'a> },
    /// A block begins, empty.
    ContentBlockStart { index: usize, content_block: Block },
    /// A block grows.
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    /// A block is complete.
    ContentBlockStop { index: usize },
    /// The content is complete.
    MessageDelta { delta: End<'a>, usage: MessageUsage, secateur: &'a Receipt },
    /// The stream is over.
    MessageStop,
    /// Nothing but a sign of life.
    Ping,
}

/// What a block grows by.
#[derive(Serialize)]
#[serde(tag = "type")]
pub enum Delta<'a> {
    /// More text.
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    /// More thoughts.
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    /// More of the JSON of a tool's input.
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

/// Token counts. Tokens of the prompt that were found in a cache are counted apart.
#[derive(Serialize)]
pub struct MessageUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

impl Event<'_> {
    /// The event as it goes over the wire, under its own name.
    pub fn written(&self) -> Bytes {
        event(Some(self.name()), self)
    }

    fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
            Event::Ping => "ping",
        }
    }
}

impl<'a> End<'a> {
    /// The end for `reason`; an answer that a stop text ended says which.
    pub fn of(reason: FinishReason, stop_text: Option<&'a str>) -> Self {
        let stop_reason = match (reason, stop_text) {
            (FinishReason::Stop, Some(_)) => "stop_sequence",
            (FinishReason::Stop, None) => "end_turn",
            (FinishReason::Length, _) => "max_tokens",
            (FinishReason::ToolCalls, _) => "tool_use",
        };
        let stop_sequence = stop_text.filter(|_| reason == FinishReason::Stop);
        Self { stop_reason: Some(stop_reason), stop_sequence }
    }
}

impl Block {
    /// A thought, not signed: nothing here would check it.
    pub fn thinking(thinking: String) -> Self {
        Block::Thinking { thinking, signature: "" }
    }

    /// A call of a tool.
    pub fn call(call: Call) -> Self {
        let Call { id, name, arguments, before: _ } = call;
        Block::ToolUse { id: tool_use_id(&id), name, input: input(&arguments) }
    }
}

/// The id of a call with the prefix of Anthropic's.
pub fn tool_use_id(call: &str) -> String {
    format!("toolu_{}", call.trim_start_matches("call_"))
}

/// Arguments as the object that they are. What is no object, since the answer was cut off or the model miswrote it,
/// stands as a text in an object of its own: a client finds no parameter of its tool, and the text is not lost.
pub fn input(arguments: &str) -> Value {
    match serde_json::from_str::<Value>(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if arguments.trim().is_empty() => Map::new().into(),
        _ => json!({INVALID_JSON: arguments}),
    }
}

impl From<Usage> for MessageUsage {
    fn from(usage: Usage) -> Self {
        let cached = usage.prompt_tokens_details.cached_tokens;
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(cached),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens: usage.completion_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        for (arguments, expected) in [
            (r#"{"b": 1, "a": [null]}"#, json!({"b": 1, "a": [null]})),
            ("", json!({})),
            (" \n", json!({})),
            (r#"{"b": "#, json!({"INVALID_JSON": "{\"b\": "})),
            ("[1]", json!({"INVALID_JSON": "[1]"})),
            ("{'a': True}", json!({"INVALID_JSON": "{'a': True}"})),
        ] {
            assert_eq!(input(arguments), expected);
        }
        assert_eq!(tool_use_id("call_0af"), "toolu_0af");
    }

    #[test]
    fn ends_have_anthropics_words() {
        for (reason, stop_text, expected) in [
            (FinishReason::Stop, None, (Some("end_turn"), None)),
            (FinishReason::Stop, Some("x"), (Some("stop_sequence"), Some("x"))),
            (FinishReason::Length, None, (Some("max_tokens"), None)),
            (FinishReason::ToolCalls, None, (Some("tool_use"), None)),
        ] {
            let end = End::of(reason, stop_text);
            assert_eq!((end.stop_reason, end.stop_sequence), expected);
        }
    }

    #[test]
    fn cached_tokens_are_counted_apart() {
        let usage = serde_json::to_value(MessageUsage::from(Usage::new(10, 3, 4))).unwrap();
        let expected = json!({"input_tokens": 6, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 3});
        assert_eq!(usage, expected);
    }
}
