//! The reply to a chat or text request that is not streamed. Every documented key is present, null where there is no
//! value.

use serde::Serialize;

use super::{logprobs::Logprobs, text_logprobs::TextLogprobs};
use crate::{
    reply::{Call, Content},
    request::{FinishReason, Receipt, Usage},
};

/// The API whose format a reply has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The API of `/v1/chat/completions`.
    Chat,
    /// The API of `/v1/completions`.
    Text,
}

impl Shape {
    /// The value of `object` in the reply or in its chunks.
    pub fn object(self, is_streamed: bool) -> &'static str {
        match (self, is_streamed) {
            (Shape::Chat, false) => "chat.completion",
            (Shape::Chat, true) => "chat.completion.chunk",
            (Shape::Text, _) => "text_completion",
        }
    }

    /// The prefix of reply ids.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Shape::Chat => "chatcmpl",
            Shape::Text => "cmpl",
        }
    }
}

/// The fields that every reply and every chunk starts with.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// Id of the reply, `chatcmpl-...` or `cmpl-...`, the same in every chunk.
    pub id: String,
    /// Kind of the object, see [`Shape::object`].
    pub object: &'static str,
    /// Time of the reply in Unix seconds.
    pub created: u64,
    /// Name under which the model is served.
    pub model: String,
}

/// The whole reply.
#[derive(Debug, Serialize)]
pub struct Completion {
    #[serde(flatten)]
    head: Head,
    system_fingerprint: Option<String>,
    choices: Vec<Choice>,
    usage: Usage,
    secateur: Receipt,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    #[serde(flatten)]
    said: Said,
    finish_reason: FinishReason,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said {
    Chat { message: AssistantMessage, logprobs: Option<Logprobs> },
    Text { text: String, logprobs: Option<TextLogprobs> },
}

#[derive(Debug, Serialize)]
struct AssistantMessage {
    role: &'static str,
    /// Null where the message only calls tools.
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Debug, Serialize)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: CalledFunction,
}

#[derive(Debug, Serialize)]
struct CalledFunction {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

impl From<Call> for ToolCall {
    fn from(Call { id, name, arguments, .. }: Call) -> Self {
        Self { id, r#type: "function", function: CalledFunction { name, arguments } }
    }
}

impl Completion {
    /// The reply with these choices.
    pub fn new(head: Head, shape: Shape, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Self {
        let choice = |(index, content): (usize, Content)| {
            let Content { text, reasoning, calls, logprobs, finish_reason, stop_text: _ } = content;
            let said = match shape {
                Shape::Chat => Said::Chat {
                    message: AssistantMessage {
                        role: "assistant",
                        content: (calls.is_empty() || !text.is_empty()).then_some(text),
                        refusal: None,
                        reasoning_content: Some(reasoning).filter(|reasoning| !reasoning.is_empty()),
                        tool_calls: calls.into_iter().map(ToolCall::from).collect(),
                    },
                    logprobs: logprobs.map(Logprobs::from),
                },
                // A returned prompt is never scored (`echo` with `logprobs` is refused), so a scored text starts at
                // offset 0.
                Shape::Text => {
                    Said::Text { text, logprobs: logprobs.map(|entries| TextLogprobs::new(&entries, &mut 0)) }
                }
            };
            Choice { index, said, finish_reason }
        };
        let choices = contents.into_iter().enumerate().map(choice).collect();
        Self { head, system_fingerprint: None, choices, usage, secateur: receipt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Before;

    #[test]
    fn calls_and_reasoning_are_said_where_there_are_any() {
        let call = |name: &str| Call {
            id: format!("call_{name}"),
            name: name.into(),
            arguments: "{}".into(),
            before: Before::default(),
        };
        let content = Content {
            calls: vec![call("f"), call("g")],
            reasoning: "hm".into(),
            finish_reason: FinishReason::ToolCalls,
            ..Content::begin(None)
        };
        let head = Head { id: "c".into(), object: "chat.completion", created: 1, model: "m".into() };
        let reply = Completion::new(head, Shape::Chat, vec![content], Usage::new(1, 1, 0), Receipt::default());
        let choice = &serde_json::to_value(&reply).unwrap()["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert!(choice["message"]["content"].is_null());
        assert_eq!(choice["message"]["reasoning_content"], "hm");
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls[0]["function"], serde_json::json!({"name": "f", "arguments": "{}"}));
        assert_eq!((&calls[1]["type"], &calls[1]["id"]), (&"function".into(), &"call_g".into()));
    }

    #[test]
    fn every_key_of_the_contract_is_present() {
        let head = Head { id: "chatcmpl-1".into(), object: "chat.completion", created: 1, model: "m".into() };
        let content = || Content::begin(Some("hi".into()));
        let usage = Usage::new(3, 2, 9);
        let text = Completion::new(head.clone(), Shape::Text, vec![content(), content()], usage, Receipt::default());
        let json = serde_json::to_value(&text).unwrap();
        let expected = serde_json::json!({"index": 1, "text": "hi", "logprobs": null, "finish_reason": "stop"});
        assert_eq!(json["choices"][1], expected);
        let reply = Completion::new(head, Shape::Chat, vec![content()], usage, Receipt::default());
        let json = serde_json::to_value(&reply).unwrap();
        for key in ["id", "object", "created", "model", "usage", "choices", "secateur", "system_fingerprint"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        let choice = &json["choices"][0];
        for key in ["index", "message", "logprobs", "finish_reason"] {
            assert!(choice.get(key).is_some(), "{key}");
        }
        assert!(choice["message"].get("refusal").is_some());
        assert_eq!(json["usage"]["total_tokens"], 5);
        assert_eq!(json["usage"]["prompt_tokens_details"]["cached_tokens"], 3, "never more than there are");
        for key in ["queue_ms", "prefill_ms", "ttft_ms", "decode_ms", "tpot_ms"] {
            assert!(json["secateur"]["timing"].get(key).is_some(), "{key}");
        }
    }
}
