//! Log probabilities as OpenAI writes them: `choices[].logprobs`.

use serde::Serialize;

use crate::request::TokenEntry;

/// Log probabilities of the tokens of one reply, or of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Logprobs {
    /// Entries, one for each token of the text.
    pub content: Vec<TokenEntry>,
    refusal: Option<()>,
}

impl From<Vec<TokenEntry>> for Logprobs {
    fn from(content: Vec<TokenEntry>) -> Self {
        Self { content, refusal: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ScoredToken;
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
        assert_eq!(ScoredToken::new(Vec::new(), f32::NAN).logprob(), -9_999.0);
    }
}
