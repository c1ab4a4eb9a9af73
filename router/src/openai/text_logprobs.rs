//! Log probabilities as `/v1/completions` writes them: parallel lists.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::request::{PromptScores, PromptToken, ScoredToken, TokenEntry};

/// Log probabilities of the tokens of one choice, or of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TextLogprobs {
    tokens: Vec<String>,
    /// Null where a token has none: the first one of a returned prompt.
    token_logprobs: Vec<Option<f32>>,
    /// The most likely tokens at each position by their text, the position's own token among them.
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Start of each token's text in the choice's text, in characters.
    text_offset: Vec<usize>,
}

impl TextLogprobs {
    /// The lists for `entries`, the first of which begins `offset` characters into the text; `offset` moves past the
    /// last one. Offsets are counted by tokens, not by released text, since a token may be released later than its text
    /// begins.
    pub fn new(entries: &[TokenEntry], offset: &mut usize) -> Self {
        let mut logprobs = Self::default();
        logprobs.add(entries, offset);
        logprobs
    }

    /// The lists for a prompt that is returned, each token with at most `top` alternatives, and for the `entries` of the
    /// answer behind it. `as_ids`: tokens are named by their ids.
    pub fn behind(prompt: &PromptScores, top: u32, as_ids: bool, entries: &[TokenEntry]) -> Self {
        let mut logprobs = Self::default();
        prompt.tokens.iter().for_each(|token| logprobs.add_prompt_token(token, top, as_ids));
        logprobs.add(entries, &mut prompt.characters.clone());
        logprobs
    }

    fn add(&mut self, entries: &[TokenEntry], offset: &mut usize) {
        for entry in entries {
            let scored = entry.top_logprobs.iter().chain([&entry.token]);
            let top = scored.map(|token| (token.text().to_owned(), token.logprob())).collect();
            self.push(entry.token.text().to_owned(), Some((entry.token.logprob(), top)), *offset);
            *offset += entry.token.length();
        }
    }

    fn add_prompt_token(&mut self, token: &PromptToken, top: u32, as_ids: bool) {
        let named = |id: u32, token: &ScoredToken| {
            if as_ids { token.clone().named_by_id(id) } else { token.clone() }
        };
        let score = token.score.as_ref().map(|score| {
            let others = score.top.iter().take(top as usize).map(|(id, other)| named(*id, other));
            let all = others.chain([named(token.id, &score.token)]);
            (score.token.logprob(), all.map(|token| (token.text().to_owned(), token.logprob())).collect())
        });
        let own = named(token.id, &ScoredToken::new(token.text.clone().into_bytes(), 0.0));
        self.push(own.text().to_owned(), score, token.offset);
    }

    fn push(&mut self, token: String, score: Option<(f32, BTreeMap<String, f32>)>, offset: usize) {
        let (logprob, top) = score.unzip();
        self.tokens.push(token);
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(top);
        self.text_offset.push(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::TokenScore;
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

    #[test]
    fn a_prompts_lists_stand_before_its_answers() {
        let scored = |text: &str, logprob| ScoredToken::new(text.as_bytes().to_vec(), logprob);
        let top = vec![(6, scored("y", -0.25)), (4, scored("x", -2.0)), (8, scored("z", -3.0))];
        let score = TokenScore { token: scored("x", -2.0), rank: 2, top };
        let token = |id, text: &str, offset, score| PromptToken { id, text: text.to_owned(), offset, score };
        let prompt =
            PromptScores { tokens: vec![token(1, "<s>", 0, None), token(4, "x", 0, Some(score))], characters: 1 };
        let answer = [TokenEntry { token: scored("!", -1.0), top_logprobs: Vec::new() }];
        let expected = json!({
            "tokens": ["<s>", "x", "!"], "token_logprobs": [null, -2.0, -1.0],
            "top_logprobs": [null, {"x": -2.0, "y": -0.25}, {"!": -1.0}], "text_offset": [0, 0, 1],
        });
        assert_eq!(serde_json::to_value(TextLogprobs::behind(&prompt, 2, false, &answer)).unwrap(), expected);
        let named = serde_json::to_value(TextLogprobs::behind(&prompt, 0, true, &[])).unwrap();
        assert_eq!(named["tokens"], json!(["token_id:1", "token_id:4"]));
        assert_eq!(named["top_logprobs"], json!([null, {"token_id:4": -2.0}]));
    }
}
