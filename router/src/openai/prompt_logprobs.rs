//! Scores of a prompt's tokens as vLLM writes them: `prompt_logprobs`.

use serde::{Serialize, Serializer};

use crate::request::{PromptScores, ScoredToken, TokenScore};

/// One entry for each token of a prompt: null, or the token and its most likely alternatives by id.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PromptLogprobs(Vec<Option<Candidates>>);

/// The tokens of one place: the prompt's own first, then the most likely ones.
#[derive(Clone, Debug, PartialEq)]
struct Candidates(Vec<(u32, Candidate)>);

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Candidate {
    logprob: f32,
    rank: u32,
    decoded_token: String,
}

impl PromptLogprobs {
    /// The entries with at most `top` most likely tokens each.
    pub fn new(scores: &PromptScores, top: u32) -> Self {
        let candidates = |score: &TokenScore, id| Candidates::new(score, id, top);
        Self(scores.tokens.iter().map(|token| token.score.as_ref().map(|score| candidates(score, token.id))).collect())
    }
}

impl Candidates {
    fn new(score: &TokenScore, id: u32, top: u32) -> Self {
        let candidate = |token: &ScoredToken, rank| Candidate {
            logprob: token.logprob(),
            rank,
            decoded_token: token.text().to_owned(),
        };
        let ranked = (1u32..).zip(&score.top).take(top as usize).filter(|(_, (other, _))| *other != id);
        let others = ranked.map(|(rank, (other, token))| (*other, candidate(token, rank)));
        Self([(id, candidate(&score.token, score.rank))].into_iter().chain(others).collect())
    }
}

impl Serialize for Candidates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, candidate)| (id, candidate)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::PromptToken;

    #[test]
    fn places_are_maps_by_id_that_begin_with_the_prompts_own_token() {
        let scored = |text: &str, logprob| ScoredToken::new(text.as_bytes().to_vec(), logprob);
        let token = |id, text: &str, score| PromptToken { id, text: text.to_owned(), offset: 0, score };
        let top = vec![(5, scored("b", -0.25)), (9, scored("c", -1.5)), (7, scored("d", -2.0))];
        let score = |text, logprob, rank| TokenScore { token: scored(text, logprob), rank, top: top.clone() };
        let scores = PromptScores {
            tokens: vec![
                token(3, "a", None),
                token(9, "c", Some(score("c", -1.5, 2))),
                token(8, "z", Some(score("z", f32::NEG_INFINITY, 300))),
            ],
            characters: 0,
        };
        let written = serde_json::to_value(PromptLogprobs::new(&scores, 2)).unwrap();
        let entry =
            |logprob: f32, rank: u32, text: &str| json!({"logprob": logprob, "rank": rank, "decoded_token": text});
        let expected = json!([
            null,
            {"9": entry(-1.5, 2, "c"), "5": entry(-0.25, 1, "b")},
            {"8": entry(-9999.0, 300, "z"), "5": entry(-0.25, 1, "b"), "9": entry(-1.5, 2, "c")},
        ]);
        assert_eq!(written, expected);
        assert_eq!(written[1].as_object().unwrap().keys().next().unwrap(), "9");
        let alone = serde_json::to_value(PromptLogprobs::new(&scores, 0)).unwrap();
        assert_eq!(alone[1], json!({"9": entry(-1.5, 2, "c")}));
    }
}
