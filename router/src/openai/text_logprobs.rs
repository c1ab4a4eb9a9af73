//! Log probabilities as `/v1/completions` writes them: parallel lists.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::request::TokenEntry;

/// Log probabilities of the tokens of one choice, or of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    /// The most likely tokens at each position by their text, the drawn token among them.
    top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Start of each token's text in the choice's text, in characters.
    text_offset: Vec<usize>,
}

impl TextLogprobs {
    /// The lists for `entries`, the first of which begins `offset` characters into the text; `offset` moves past the
    /// last one. Offsets are counted by tokens, not by released text, since a token may be released later than its text
    /// begins.
    pub fn new(entries: &[TokenEntry], offset: &mut usize) -> Self {
        let mut logprobs = Self::default();
        for entry in entries {
            let token = entry.token.text();
            let scored = entry.top_logprobs.iter().chain([&entry.token]);
            logprobs.top_logprobs.push(scored.map(|token| (token.text().to_owned(), token.logprob())).collect());
            logprobs.tokens.push(token.to_owned());
            logprobs.token_logprobs.push(entry.token.logprob());
            logprobs.text_offset.push(*offset);
            *offset += entry.token.length();
        }
        logprobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::ScoredToken;
    use serde_json::json;

    #[test]
    fn lists_are_parallel_and_offsets_count_characters() {
        let token = |text: &str, logprob| ScoredToken::new(text.as_bytes().to_vec(), logprob);
        let entries = [
            TokenEntry { token: token("né", -0.5), top_logprobs: vec![token("no", -0.25), token("né", -0.5)] },
            TokenEntry { token: token("x", -1.0), top_logprobs: vec![] },
        ];
        let expected = json!({
            "tokens": ["né", "x"], "token_logprobs": [-0.5, -1.0],
            "top_logprobs": [{"no": -0.25, "né": -0.5}, {"x": -1.0}], "text_offset": [3, 5],
        });
        assert_eq!(serde_json::to_value(TextLogprobs::new(&entries, &mut 3)).unwrap(), expected);
    }
}
