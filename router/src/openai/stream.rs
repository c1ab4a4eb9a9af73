//! The chunks of a streamed reply, and how they are written as server-sent events.

use bytes::Bytes;
use secateur_proto::ServiceError;
use serde::Serialize;

use super::{
    error_body::ErrorBody,
    logprobs::Logprobs,
    response::{Head, Shape},
    text_logprobs::TextLogprobs,
};
use crate::{
    reply::{Call, event},
    request::{FinishReason, Receipt, StreamOptions, TokenEntry, Usage},
    tools::CallPart,
};

/// The event that ends every stream that did not fail.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Writes the chunks of one stream; holds what all of them share.
#[derive(Debug)]
pub struct ChunkWriter {
    head: Head,
    shape: Shape,
    options: StreamOptions,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    system_fingerprint: Option<()>,
    choices: &'a [ChunkChoice<'a>],
    // Outer `None`: the key is omitted; inner `None`: the value is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secateur: Option<&'a Receipt>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    #[serde(flatten)]
    said: Said<'a>,
    finish_reason: Option<FinishReason>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Chat { delta: Delta<'a>, logprobs: Option<Logprobs> },
    Text { text: &'a str, logprobs: Option<TextLogprobs> },
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

/// A part of a call; the first one has its id, type and name.
#[derive(Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChunkWriter {
    /// A writer for one stream.
    pub fn new(head: Head, shape: Shape, options: StreamOptions) -> Self {
        Self { head, shape, options }
    }

    /// The first chunk of a choice: the role for chat, the echoed prompt for text. `None` for a text choice without an
    /// echo.
    pub fn opening(&self, index: usize, echo: Option<&str>, usage: Usage) -> Option<Bytes> {
        let said = match (self.shape, echo) {
            (Shape::Chat, _) => {
                let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
                Said::Chat { delta, logprobs: None }
            }
            (Shape::Text, Some(text)) => Said::Text { text, logprobs: None },
            (Shape::Text, None) => return None,
        };
        Some(self.choice(ChunkChoice { index, said, finish_reason: None }, usage))
    }

    /// The chunk of a piece of text, with the log probabilities of its tokens if they were requested. The first of
    /// these tokens begins `offset` characters into the choice's text; `offset` moves past the last one.
    pub fn text(
        &self,
        index: usize,
        text: &str,
        offset: &mut usize,
        logprobs: Option<Vec<TokenEntry>>,
        usage: Usage,
    ) -> Bytes {
        let said = match self.shape {
            Shape::Chat => {
                let delta = Delta { content: Some(text), ..Delta::default() };
                Said::Chat { delta, logprobs: logprobs.map(Logprobs::from) }
            }
            Shape::Text => Said::Text { text, logprobs: logprobs.map(|entries| TextLogprobs::new(&entries, offset)) },
        };
        self.choice(ChunkChoice { index, said, finish_reason: None }, usage)
    }

    /// The chunk of a piece of reasoning.
    pub fn reasoning(&self, index: usize, reasoning: &str, usage: Usage) -> Bytes {
        let delta = Delta { reasoning_content: Some(reasoning), ..Delta::default() };
        self.choice(ChunkChoice { index, said: Said::Chat { delta, logprobs: None }, finish_reason: None }, usage)
    }

    /// The chunk of a part of a call.
    pub fn call(&self, index: usize, part: &CallPart, usage: Usage) -> Bytes {
        let name = part.name.as_deref();
        let call = CallDelta {
            index: part.index,
            id: name.map(|_| Call::new_id()),
            r#type: name.map(|_| "function"),
            function: FunctionDelta { name, arguments: &part.arguments },
        };
        let said = Said::Chat { delta: Delta { tool_calls: Some([call]), ..Delta::default() }, logprobs: None };
        self.choice(ChunkChoice { index, said, finish_reason: None }, usage)
    }

    /// The chunk that ends a choice.
    pub fn finish(&self, index: usize, reason: FinishReason, usage: Usage) -> Bytes {
        let said = match self.shape {
            Shape::Chat => Said::Chat { delta: Delta::default(), logprobs: None },
            Shape::Text => Said::Text { text: "", logprobs: None },
        };
        self.choice(ChunkChoice { index, said, finish_reason: Some(reason) }, usage)
    }

    /// The last chunk, which has usage and receipt but no choice.
    pub fn usage(&self, usage: Usage, receipt: &Receipt) -> Bytes {
        event(
            None,
            &Chunk {
                head: &self.head,
                system_fingerprint: None,
                choices: &[],
                usage: Some(Some(usage)),
                secateur: Some(receipt),
            },
        )
    }

    fn choice(&self, choice: ChunkChoice<'_>, usage: Usage) -> Bytes {
        // As in OpenAI's API, chunks have `usage: null` if a usage chunk will follow.
        let usage = match (self.options.continuous_usage, self.options.include_usage) {
            (true, _) => Some(Some(usage)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        event(None, &Chunk { head: &self.head, system_fingerprint: None, choices: &[choice], usage, secateur: None })
    }
}

/// The event for an error inside a stream, whose HTTP status has already been sent.
pub fn error(error: &ServiceError) -> Bytes {
    event(None, &ErrorBody::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn writer(include_usage: bool) -> ChunkWriter {
        shaped(Shape::Chat, include_usage)
    }

    fn shaped(shape: Shape, include_usage: bool) -> ChunkWriter {
        let head = Head { id: "c".into(), object: shape.object(true), created: 1, model: "m".into() };
        ChunkWriter::new(head, shape, StreamOptions { include_usage, continuous_usage: false })
    }

    fn read(event: &Bytes) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n")).unwrap();
        assert!(!data.contains('\n'));
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn usage_is_null_until_the_last_chunk() {
        let usage = Usage::new(1, 1, 0);
        assert!(read(&writer(true).text(0, "a\nb", &mut 0, None, usage)).get("usage").is_some_and(Value::is_null));
        assert!(read(&writer(false).text(0, "a", &mut 0, None, usage)).get("usage").is_none());
        let last = read(&writer(true).usage(usage, &Receipt::default()));
        assert_eq!(last["choices"], serde_json::json!([]));
        assert_eq!(last["usage"]["total_tokens"], 2);
        assert!(last["secateur"]["transfer"].is_object());
    }

    #[test]
    fn chunks_carry_role_then_text_then_reason() {
        let usage = Usage::new(1, 1, 0);
        assert_eq!(read(&writer(false).opening(0, None, usage).unwrap())["choices"][0]["delta"]["role"], "assistant");
        let text = read(&writer(false).text(1, "é", &mut 0, None, usage));
        assert_eq!((&text["choices"][0]["delta"]["content"], &text["choices"][0]["index"]), (&"é".into(), &1.into()));
        let scored = read(&writer(false).text(0, "é", &mut 0, Some(Vec::new()), usage));
        assert_eq!(scored["choices"][0]["logprobs"]["content"], serde_json::json!([]));
        let last = read(&writer(false).finish(0, FinishReason::Length, usage));
        assert_eq!(last["choices"][0]["finish_reason"], "length");
        assert!(last["choices"][0].get("logprobs").is_some_and(Value::is_null));
    }

    #[test]
    fn a_calls_first_part_names_it() {
        let usage = Usage::new(1, 1, 0);
        let first = CallPart { index: 0, name: Some("f".into()), arguments: "{".into() };
        let delta = read(&writer(false).call(0, &first, usage))["choices"][0]["delta"]["tool_calls"][0].clone();
        assert!(delta["id"].as_str().unwrap().starts_with("call_"));
        assert_eq!(delta["function"], serde_json::json!({"name": "f", "arguments": "{"}));
        let next = CallPart { index: 0, name: None, arguments: "}".into() };
        let delta = read(&writer(false).call(0, &next, usage))["choices"][0]["delta"]["tool_calls"][0].clone();
        assert_eq!(delta, serde_json::json!({"index": 0, "function": {"arguments": "}"}}));
    }

    #[test]
    fn text_chunks_have_no_role_and_may_echo() {
        let (usage, writer) = (Usage::new(1, 1, 0), shaped(Shape::Text, false));
        assert!(writer.opening(0, None, usage).is_none());
        assert_eq!(read(&writer.opening(0, Some("p"), usage).unwrap())["choices"][0]["text"], "p");
        let chunk = read(&writer.text(2, "a", &mut 3, None, usage));
        assert_eq!(chunk["object"], "text_completion");
        let expected = serde_json::json!({"index": 2, "text": "a", "logprobs": null, "finish_reason": null});
        assert_eq!(chunk["choices"][0], expected);
        assert_eq!(read(&writer.finish(0, FinishReason::Stop, usage))["choices"][0]["finish_reason"], "stop");
    }
}
