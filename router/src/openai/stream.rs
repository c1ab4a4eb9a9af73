//! The chunks of a streamed chat reply, and how they are written as server-sent events.

use bytes::Bytes;
use secateur_proto::ServiceError;
use serde::Serialize;

use super::{
    error_body::ErrorBody,
    logprobs::Logprobs,
    receipt::Receipt,
    response::{FinishReason, Head, Usage},
};

/// The line that ends every good stream.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What every chunk of one stream shares.
#[derive(Debug)]
pub struct ChunkWriter {
    head: Head,
    /// Whether chunks carry `usage: null`, as OpenAI's do when a usage chunk will follow.
    includes_usage: bool,
    continuous_usage: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    system_fingerprint: Option<()>,
    choices: &'a [ChunkChoice<'a>],
    // Outer none: the key is left out; inner none: null.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secateur: Option<&'a Receipt>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<&'a Logprobs>,
    finish_reason: Option<FinishReason>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl ChunkWriter {
    /// For one stream.
    pub fn new(head: Head, includes_usage: bool, continuous_usage: bool) -> Self {
        Self { head, includes_usage, continuous_usage }
    }

    /// The first chunk: the role.
    pub fn role(&self, usage: Usage) -> Bytes {
        self.choice(Delta { role: Some("assistant"), content: Some("") }, None, None, usage)
    }

    /// A piece of text, and the log probabilities of its tokens where they are asked for.
    pub fn text(&self, text: &str, logprobs: Option<&Logprobs>, usage: Usage) -> Bytes {
        self.choice(Delta { role: None, content: Some(text) }, logprobs, None, usage)
    }

    /// The end of the choice.
    pub fn finish(&self, reason: FinishReason, usage: Usage) -> Bytes {
        self.choice(Delta::default(), None, Some(reason), usage)
    }

    /// The last chunk: usage and receipt, no choice.
    pub fn usage(&self, usage: Usage, receipt: &Receipt) -> Bytes {
        event(&Chunk {
            head: &self.head,
            system_fingerprint: None,
            choices: &[],
            usage: Some(Some(usage)),
            secateur: Some(receipt),
        })
    }

    fn choice(
        &self,
        delta: Delta<'_>,
        logprobs: Option<&Logprobs>,
        finish_reason: Option<FinishReason>,
        usage: Usage,
    ) -> Bytes {
        let usage = match (self.continuous_usage, self.includes_usage) {
            (true, _) => Some(Some(usage)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        let choices = &[ChunkChoice { index: 0, delta, logprobs, finish_reason }];
        event(&Chunk { head: &self.head, system_fingerprint: None, choices, usage, secateur: None })
    }
}

/// An error inside a stream, whose status line is long gone.
pub fn error(error: &ServiceError) -> Bytes {
    event(&ErrorBody::from(error))
}

fn event(data: &impl Serialize) -> Bytes {
    let mut line = Vec::from(&b"data: "[..]);
    // Plain structs with string keys, written to memory: there is nothing that can fail.
    let written = serde_json::to_writer(&mut line, data);
    debug_assert!(written.is_ok());
    line.extend_from_slice(b"\n\n");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn writer(includes_usage: bool) -> ChunkWriter {
        let head = Head { id: "c".into(), object: "chat.completion.chunk", created: 1, model: "m".into() };
        ChunkWriter::new(head, includes_usage, false)
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
        assert!(read(&writer(true).text("a\nb", None, usage)).get("usage").is_some_and(Value::is_null));
        assert!(read(&writer(false).text("a", None, usage)).get("usage").is_none());
        let last = read(&writer(true).usage(usage, &Receipt::default()));
        assert_eq!(last["choices"], serde_json::json!([]));
        assert_eq!(last["usage"]["total_tokens"], 2);
        assert!(last["secateur"]["transfer"].is_object());
    }

    #[test]
    fn chunks_carry_role_then_text_then_reason() {
        let usage = Usage::new(1, 1, 0);
        assert_eq!(read(&writer(false).role(usage))["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(read(&writer(false).text("é", None, usage))["choices"][0]["delta"]["content"], "é");
        let scored = read(&writer(false).text("é", Some(&Logprobs::default()), usage));
        assert_eq!(scored["choices"][0]["logprobs"]["content"], serde_json::json!([]));
        let last = read(&writer(false).finish(FinishReason::Length, usage));
        assert_eq!(last["choices"][0]["finish_reason"], "length");
        assert!(last["choices"][0].get("logprobs").is_some_and(Value::is_null));
    }
}
