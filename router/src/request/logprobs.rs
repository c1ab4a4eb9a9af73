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
    /// Bytes of the text. Those of all tokens of an answer, one after the other, are the answer's text.
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

    /// Number of characters that begin in the token, so that the tokens of one character count it once.
    pub fn length(&self) -> usize {
        self.bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
    }

    /// The token without bytes: it is no part of the text.
    pub fn unwritten(self) -> Self {
        Self { bytes: Vec::new(), ..self }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_the_characters_that_begin_in_them() {
        let length = |bytes: &[u8]| ScoredToken::new(bytes.to_vec(), 0.0).length();
        assert_eq!(("né".len(), length("né".as_bytes())), (3, 2));
        assert_eq!([&[0xEC][..], &[0x95], &[0x88]].map(length), [1, 0, 0], "a character in three tokens");
        assert_eq!(length(&[0x88, b'a', 0xEC]), 2);
        let special = ScoredToken::new(b"</s>".to_vec(), 0.0).unwritten();
        assert_eq!((special.text(), special.length()), ("</s>", 0));
    }
}
