//! Texts of which vectors are wanted.

use super::raw::RawPrompt;

/// A validated request for vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingJob {
    /// Model that the client named; `None` means any.
    pub model: Option<String>,
    /// The texts; there is at least one.
    pub inputs: Vec<RawPrompt>,
    /// Whether the tokenizer adds its special tokens to texts.
    pub adds_special_tokens: bool,
    /// How the states of a text's positions become one vector.
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub normalizes: bool,
    /// Length of the vectors that the client asked for; `None` means the model's.
    pub dimensions: Option<u32>,
    /// Whether vectors are written as base64 of little-endian f32 numbers.
    pub is_base64: bool,
}

/// How the final states of a text's positions become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The state of the last position, which alone has seen the whole text.
    #[default]
    Last,
    /// The mean of the states of all positions.
    Mean,
}
