//! Reads how long an answer may be.

use secateur_proto::ServiceError;

use super::fields::Fields;

/// The most tokens to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxTokens {
    /// Most tokens of the answer; `None` means the rest of the context.
    pub tokens: Option<u32>,
    /// The field in which the client gave the limit, for errors.
    pub field: &'static str,
    /// The number as the client wrote it, for errors, since `tokens` is clamped to 32 bits. `None` if `tokens` is a
    /// default.
    pub sent: Option<String>,
    /// Most tokens of prompt and answer together; `None` means the context length.
    pub total: Option<u32>,
}

/// Reads the length limit. `max_completion_tokens` is OpenAI's newer name and wins over `max_tokens`.
pub fn parse(fields: &Fields, default: Option<u32>) -> Result<MaxTokens, ServiceError> {
    let newer = fields.integer_from("max_completion_tokens", 1)?;
    let older = fields.integer_from("max_tokens", 1)?;
    let (tokens, field) = match newer {
        Some(_) => (newer, "max_completion_tokens"),
        None => (older.or(default), "max_tokens"),
    };
    Ok(MaxTokens { tokens, field, sent: fields.get(field).map(|_| fields.quoted(field)), total: None })
}
