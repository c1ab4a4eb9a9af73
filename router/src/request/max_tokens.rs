//! How long an answer may be.

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
