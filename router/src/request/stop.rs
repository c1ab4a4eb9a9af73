//! The conditions that end an answer.

/// The conditions that end an answer, besides the model's own end tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopConditions {
    /// Stop texts; the answer is cut off before the first of them.
    pub texts: Vec<String>,
    /// Whether the stop text that ends an answer is part of it.
    pub shows_stop: bool,
    /// Further tokens that end the answer.
    pub token_ids: Vec<u32>,
    /// Whether the model's own end tokens do not end the answer.
    pub ignores_end_tokens: bool,
    /// Number of tokens before which no stop condition ends the answer.
    pub min_tokens: u32,
}
