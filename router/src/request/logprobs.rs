//! Log probabilities of the tokens of an answer.

use serde::Serialize;

/// Value that OpenAI writes for a token that cannot be drawn, since JSON has no infinity.
const LOGPROB_MIN: f32 = -9_999.0;

/// A token of the answer and its most likely alternatives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenEntry {
    /// The token that was drawn.
    #[serde(flatten)]
    pub token: ScoredToken,
    /// The most likely tokens, most likely first.
    pub top_logprobs: Vec<ScoredToken>,
}

/// A token and its log probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredToken {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ScoredToken {
    /// The token as text.
    pub fn text(&self) -> &str {
        &self.token
    }

    /// The token's log probability.
    pub fn logprob(&self) -> f32 {
        self.logprob
    }

    /// Length of the token's text in characters.
    pub fn length(&self) -> usize {
        String::from_utf8_lossy(&self.bytes).chars().count()
    }

    /// The token named by its id, as vLLM writes it.
    pub fn named_by_id(self, id: u32) -> Self {
        Self { token: format!("token_id:{id}"), ..self }
    }

    /// A token given by its bytes, which may be only part of a character.
    pub fn new(bytes: Vec<u8>, logprob: f32) -> Self {
        let token = String::from_utf8_lossy(&bytes).into_owned();
        // `max` also replaces NaN by the minimum.
        Self { token, logprob: logprob.max(LOGPROB_MIN), bytes }
    }
}
