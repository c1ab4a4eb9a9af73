//! The reply of a chat request that is not streamed. Every key of the contract is present, null where there is nothing.

use serde::Serialize;

use super::{logprobs::Logprobs, receipt::Receipt};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
}

impl FinishReason {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
        }
    }
}

/// What every reply and chunk starts with.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// `chatcmpl-...`, the same in every chunk.
    pub id: String,
    /// `chat.completion` or `chat.completion.chunk`.
    pub object: &'static str,
    /// Unix seconds.
    pub created: u64,
    /// The served name.
    pub model: String,
}

/// Token counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Usage {
    /// What the user sent: text tokens and all visual tokens, before pruning.
    pub prompt_tokens: u32,
    /// Generated tokens, an end token included.
    pub completion_tokens: u32,
    /// Their sum.
    pub total_tokens: u32,
    /// Prefix cache hits.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Part of [`Usage`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PromptTokensDetails {
    /// Prefill's prefix hit.
    pub cached_tokens: u32,
}

impl Usage {
    /// Usage of `prompt` and `completion` tokens, `cached` of the prompt's found in the prefix cache.
    pub fn new(prompt: u32, completion: u32, cached: u32) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptTokensDetails { cached_tokens: cached.min(prompt) },
        }
    }
}

/// The whole reply.
#[derive(Debug, Serialize)]
pub struct ChatCompletion {
    #[serde(flatten)]
    head: Head,
    system_fingerprint: Option<String>,
    choices: [Choice; 1],
    usage: Usage,
    secateur: Receipt,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: u32,
    message: AssistantMessage,
    logprobs: Option<Logprobs>,
    finish_reason: FinishReason,
}

#[derive(Debug, Serialize)]
struct AssistantMessage {
    role: &'static str,
    content: String,
    refusal: Option<()>,
}

/// What the one choice holds.
#[derive(Debug)]
pub struct Content {
    /// The answer.
    pub text: String,
    /// None: not asked for.
    pub logprobs: Option<Logprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

impl ChatCompletion {
    /// The reply with `content`.
    pub fn new(head: Head, content: Content, usage: Usage, receipt: Receipt) -> Self {
        let Content { text, logprobs, finish_reason } = content;
        let message = AssistantMessage { role: "assistant", content: text, refusal: None };
        let choice = Choice { index: 0, message, logprobs, finish_reason };
        Self { head, system_fingerprint: None, choices: [choice], usage, secateur: receipt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_contract_is_present() {
        let head = Head { id: "chatcmpl-1".into(), object: "chat.completion", created: 1, model: "m".into() };
        let content = Content { text: "hi".into(), logprobs: None, finish_reason: FinishReason::Stop };
        let reply = ChatCompletion::new(head, content, Usage::new(3, 2, 9), Receipt::default());
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
