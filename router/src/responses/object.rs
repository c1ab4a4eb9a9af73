//! The object of a response.

use secateur_proto::{ErrorCode, ServiceError};
use serde::Serialize;
use serde_json::{Map, Value};

use super::items::{Item, Status};
use crate::{
    reply::ReplyId,
    request::{Receipt, Usage},
};

/// A response, whole or so far.
#[derive(Debug, Serialize)]
pub struct ResponseObject<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    status: Status,
    completed_at: Option<u64>,
    error: Option<Failure<'a>>,
    incomplete_details: Option<IncompleteDetails>,
    model: &'a str,
    output: &'a [Item],
    #[serde(flatten)]
    asked: &'a Map<String, Value>,
    usage: Option<TokenCounts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secateur: Option<&'a Receipt>,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct IncompleteDetails {
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct TokenCounts {
    input_tokens: u32,
    input_tokens_details: InputDetails,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    total_tokens: u32,
}

#[derive(Debug, Serialize)]
struct InputDetails {
    cached_tokens: u32,
    /// Always 0: what is kept for later costs nothing.
    cache_write_tokens: u32,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    /// Always 0: tokens of reasoning are not counted apart.
    reasoning_tokens: u32,
}

impl<'a> ResponseObject<'a> {
    /// The response `reply` with these items.
    pub fn new(reply: &'a ReplyId, asked: &'a Map<String, Value>, output: &'a [Item], status: Status) -> Self {
        let is_cut = status == Status::Incomplete;
        Self {
            id: format!("resp_{}", reply.epoch),
            object: "response",
            created_at: reply.created,
            status,
            completed_at: None,
            error: None,
            incomplete_details: is_cut.then_some(IncompleteDetails { reason: "max_output_tokens" }),
            model: &reply.model,
            output,
            asked,
            usage: None,
            secateur: None,
        }
    }

    /// Whether the answer was cut off.
    pub fn is_cut(&self) -> bool {
        self.status == Status::Incomplete
    }

    /// With what is known once it has ended.
    pub fn ended(self, at: u64, usage: Usage, receipt: &'a Receipt) -> Self {
        let completed_at = (self.status == Status::Completed).then_some(at);
        Self { completed_at, usage: Some(usage.into()), secateur: Some(receipt), ..self }
    }

    /// With the failure that broke it off.
    pub fn failed(self, failure: &'a ServiceError) -> Self {
        let code = match failure.code {
            ErrorCode::InvalidImage => "invalid_image",
            code if code.http() == 429 => "rate_limit_exceeded",
            // OpenAI's clients know few codes. The stream's event `error` has this server's own.
            code if code.http() < 500 => "invalid_prompt",
            _ => "server_error",
        };
        Self { status: Status::Failed, error: Some(Failure { code, message: &failure.message }), ..self }
    }
}

impl From<Usage> for TokenCounts {
    fn from(usage: Usage) -> Self {
        let cached_tokens = usage.prompt_tokens_details.cached_tokens;
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails { cached_tokens, cache_write_tokens: 0 },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: 0 },
            total_tokens: usage.total_tokens,
        }
    }
}
