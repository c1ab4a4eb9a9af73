//! Log probabilities as OpenAI writes them: `choices[].logprobs`.

use serde::Serialize;

/// Value that OpenAI writes for a token that cannot be drawn, since JSON has no infinity.
const LOGPROB_MIN: f32 = -9_999.0;

/// Log probabilities of the tokens of one reply, or of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Logprobs {
    /// Entries, one for each token of the text.
    pub content: Vec<TokenEntry>,
    refusal: Option<()>,
}

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

impl From<Vec<TokenEntry>> for Logprobs {
    fn from(content: Vec<TokenEntry>) -> Self {
        Self { content, refusal: None }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_true_and_numbers_are_numbers() {
        let half = ScoredToken::new(vec![0xC3], -0.5);
        let never = ScoredToken::new(b"a".to_vec(), f32::NEG_INFINITY);
        let entry = TokenEntry { token: half, top_logprobs: vec![never] };
        let expected = json!({"content": [{
            "token": "\u{FFFD}", "logprob": -0.5, "bytes": [0xC3],
            "top_logprobs": [{"token": "a", "logprob": -9999.0, "bytes": [97]}],
        }], "refusal": null});
        assert_eq!(serde_json::to_value(Logprobs::from(vec![entry])).unwrap(), expected);
        let named = ScoredToken::new("é".into(), -1.0).named_by_id(12);
        assert_eq!((named.text(), named.length()), ("token_id:12", 1));
        assert_eq!(ScoredToken::new(Vec::new(), f32::NAN).logprob, LOGPROB_MIN);
    }
}
