//! Reads how long an answer may be.

use secateur_proto::ServiceError;

use super::fields::Fields;
use crate::request::MaxTokens;

/// Reads the length limit. `max_completion_tokens` is OpenAI's newer name and wins over `max_tokens`.
/// `max_tokens` is at least `least`.
pub fn parse(fields: &Fields, default: Option<u32>, least: u32) -> Result<MaxTokens, ServiceError> {
    let newer = fields.integer_from("max_completion_tokens", 1)?;
    let older = fields.integer_from("max_tokens", least)?;
    let (tokens, field) = match newer {
        Some(_) => (newer, "max_completion_tokens"),
        None => (older.or(default), "max_tokens"),
    };
    Ok(MaxTokens { tokens, field, sent: fields.get(field).map(|_| fields.quoted(field)), total: None })
}
