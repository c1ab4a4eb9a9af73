//! The reply to a chat or text request that is not streamed. Every documented key is present, null where there is no
//! value.

use serde::Serialize;

use std::sync::Arc;

use super::{logprobs::Logprobs, prompt_logprobs::PromptLogprobs, text_logprobs::TextLogprobs};
use crate::{
    reply::{Call, Content},
    request::{FinishReason, PromptScores, Receipt, Usage},
};

/// How a reply returns the scores of its prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScoreStyle {
    /// Number of alternatives where the prompt stands in `logprobs` before its answer; `None` if it does not.
    pub echoed: Option<u32>,
    /// Number of alternatives of `prompt_logprobs`; `None` if it was not requested.
    pub listed: Option<u32>,
    /// Whether `logprobs` names tokens by their ids.
    pub as_ids: bool,
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs>,
    secateur: Receipt,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    #[serde(flatten)]
    said: Said,
    finish_reason: FinishReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_logprobs: Option<PromptLogprobs>,
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
    /// The reply with these choices. The first answer to each prompt brings the scores of that prompt, if there are any.
    pub fn new(
        (head, shape, style): (Head, Shape, ScoreStyle),
        contents: Vec<Content>,
        usage: Usage,
        receipt: Receipt,
    ) -> Self {
        let listed = |prompt: Option<&PromptScores>| Some(PromptLogprobs::new(prompt?, style.listed?));
        let mut scores: Option<Arc<PromptScores>> = None;
        let mut prompt_logprobs = None;
        let mut choices = Vec::with_capacity(contents.len());
        for (index, content) in contents.into_iter().enumerate() {
            let Content { text, reasoning, calls, logprobs, prompt, finish_reason, stop_text: _ } = content;
            scores = prompt.or(scores);
            let prompt = scores.as_deref();
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
                Shape::Text => {
                    let logprobs = logprobs.map(|entries| match (prompt, style.echoed) {
                        (Some(prompt), Some(top)) => TextLogprobs::behind(prompt, top, style.as_ids, &entries),
                        _ => TextLogprobs::new(&entries, &mut 0),
                    });
                    Said::Text { text, logprobs }
                }
            };
            let mut choice = Choice { index, said, finish_reason, prompt_logprobs: None };
            match shape {
                Shape::Text => choice.prompt_logprobs = listed(prompt),
                Shape::Chat if index == 0 => prompt_logprobs = listed(prompt),
                Shape::Chat => {}
            }
            choices.push(choice);
        }
        Self { head, system_fingerprint: None, choices, usage, prompt_logprobs, secateur: receipt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Before;
    use crate::request::PromptToken;

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
        let reply = Completion::new(
            (head, Shape::Chat, ScoreStyle::default()),
            vec![content],
            Usage::new(1, 1, 0),
            Receipt::default(),
        );
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
        let (style, receipt) = (ScoreStyle::default(), Receipt::default);
        let text = Completion::new((head.clone(), Shape::Text, style), vec![content(), content()], usage, receipt());
        let json = serde_json::to_value(&text).unwrap();
        let expected = serde_json::json!({"index": 1, "text": "hi", "logprobs": null, "finish_reason": "stop"});
        assert_eq!(json["choices"][1], expected);
        let reply = Completion::new((head, Shape::Chat, style), vec![content()], usage, receipt());
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

    #[test]
    fn scores_of_a_prompt_stand_with_its_answers_or_beside_the_one_message() {
        let prompt = |id| {
            let tokens = vec![PromptToken { id, text: "a".into(), offset: 0, score: None }];
            Some(Arc::new(PromptScores { tokens, characters: 1 }))
        };
        let contents = || {
            let content = |prompt, logprobs| Content { prompt, logprobs, ..Content::begin(None) };
            vec![content(prompt(1), Some(vec![])), content(None, Some(vec![])), content(prompt(2), Some(vec![]))]
        };
        let written = |shape, style| {
            let head = Head { id: "c".into(), object: "o", created: 1, model: "m".into() };
            let reply = Completion::new((head, shape, style), contents(), Usage::default(), Receipt::default());
            serde_json::to_value(reply).unwrap()
        };
        let both = ScoreStyle { echoed: Some(1), listed: Some(1), as_ids: true };
        let text = written(Shape::Text, both);
        let tokens: Vec<_> = (0..3).map(|at| text["choices"][at]["logprobs"]["tokens"][0].clone()).collect();
        assert_eq!(tokens, ["token_id:1", "token_id:1", "token_id:2"], "n answers share their prompt");
        assert_eq!(text["choices"][2]["prompt_logprobs"], serde_json::json!([null]));
        assert!(text.get("prompt_logprobs").is_none());
        let chat = written(Shape::Chat, both);
        assert_eq!(chat["prompt_logprobs"], serde_json::json!([null]));
        assert!(chat["choices"][0].get("prompt_logprobs").is_none());
        let plain = written(Shape::Text, ScoreStyle::default());
        assert!(plain["choices"][0].get("prompt_logprobs").is_none());
        assert_eq!(plain["choices"][0]["logprobs"]["tokens"], serde_json::json!([]));
    }
}
