//! The reply to a chat or text request that is not streamed. Every documented key is present, null where there is no
//! value.

use serde::Serialize;

use super::{logprobs::Logprobs, text_logprobs::TextLogprobs};

use crate::request::{TokenEntry, receipt::Receipt};
use crate::tools::CallPart;

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    id: String,
    r#type: &'static str,
    function: CalledFunction,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct CalledFunction {
    name: String,
    /// JSON, as the model wrote it.
    arguments: String,
}

/// A new id for a call.
pub fn call_id() -> String {
    format!("call_{}", secateur_common::ids::time_ordered().replace('-', ""))
}

/// The content of one choice.
#[derive(Debug)]
pub struct Content {
    /// The answer.
    pub text: String,
    /// The calls that the answer makes.
    pub calls: Vec<ToolCall>,
    /// Log probabilities; `None` if they were not requested.
    pub logprobs: Option<Vec<TokenEntry>>,
    /// Why the answer ended.
    pub finish_reason: FinishReason,
}

impl Content {
    /// Adds a part of a call.
    pub fn call(&mut self, part: CallPart) {
        if let Some(name) = part.name {
            let function = CalledFunction { name, arguments: String::new() };
            self.calls.push(ToolCall { id: call_id(), r#type: "function", function });
        }
        if let Some(call) = self.calls.get_mut(part.index) {
            call.function.arguments.push_str(&part.arguments);
        }
    }
}

impl Completion {
    /// The reply with these choices.
    pub fn new(head: Head, shape: Shape, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Self {
        let choice = |(index, content): (usize, Content)| {
            let Content { text, calls, logprobs, finish_reason } = content;
            let said = match shape {
                Shape::Chat => Said::Chat {
                    message: AssistantMessage {
                        role: "assistant",
                        content: (calls.is_empty() || !text.is_empty()).then_some(text),
                        refusal: None,
                        tool_calls: calls,
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

    #[test]
    fn parts_of_calls_become_calls() {
        let mut content =
            Content { text: String::new(), calls: vec![], logprobs: None, finish_reason: FinishReason::ToolCalls };
        let part = |index, name: Option<&str>, arguments: &str| CallPart {
            index,
            name: name.map(str::to_owned),
            arguments: arguments.into(),
        };
        for part in [part(0, Some("f"), "{"), part(0, None, "}"), part(1, Some("g"), "{}")] {
            content.call(part);
        }
        let head = Head { id: "c".into(), object: "chat.completion", created: 1, model: "m".into() };
        let reply = Completion::new(head, Shape::Chat, vec![content], Usage::new(1, 1, 0), Receipt::default());
        let choice = &serde_json::to_value(&reply).unwrap()["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert!(choice["message"]["content"].is_null());
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls[0]["function"], serde_json::json!({"name": "f", "arguments": "{}"}));
        assert_eq!((calls[1]["type"].as_str(), calls[0]["id"] == calls[1]["id"]), (Some("function"), false));
    }

    #[test]
    fn every_key_of_the_contract_is_present() {
        let head = Head { id: "chatcmpl-1".into(), object: "chat.completion", created: 1, model: "m".into() };
        let content =
            || Content { text: "hi".into(), calls: vec![], logprobs: None, finish_reason: FinishReason::Stop };
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
