//! Scores of a prompt's tokens, with the tokens' texts.

use std::sync::Arc;

use secateur_proto::v1;

use crate::{
    prompt::Detokenizer,
    request::{PromptScores, PromptToken, ScoredToken, TokenScore},
    served::ServedModel,
};

/// Names the tokens of a prompt and of its scores, one for each token. `echo` is the prompt's text, if it is returned.
/// Takes time in proportion to the prompt, so do not call it on an async task.
pub fn named(
    model: &Arc<ServedModel>,
    tokens: &[u32],
    scores: Vec<v1::PromptScore>,
    echo: Option<&str>,
) -> PromptScores {
    let offsets = echo.map(|_| offsets(model, tokens)).unwrap_or_default();
    let entry = |(at, (&id, score)): (usize, (&u32, v1::PromptScore))| PromptToken {
        id,
        text: text(model, id),
        offset: offsets.get(at).copied().unwrap_or(0),
        score: score.logprob.map(|logprob| token_score(model, id, logprob, score.rank)),
    };
    let tokens = tokens.iter().zip(scores).enumerate().map(entry).collect();
    PromptScores { tokens, characters: echo.map_or(0, |text| text.chars().count()) }
}

fn token_score(model: &ServedModel, id: u32, found: v1::TokenLogprob, rank: u32) -> TokenScore {
    let scored = |id, logprob| ScoredToken::new(model.token_bytes(id), logprob);
    let top = found.top.into_iter().map(|other| (other.id, scored(other.id, other.logprob))).collect();
    TokenScore { token: scored(id, found.logprob), rank, top }
}

fn text(model: &ServedModel, id: u32) -> String {
    String::from_utf8_lossy(&model.token_bytes(id)).into_owned()
}

/// Where the text of each token starts, in characters. Tokens without text of their own, special ones and parts of a
/// character, start where the next text does.
fn offsets(model: &Arc<ServedModel>, tokens: &[u32]) -> Vec<usize> {
    let mut detokenizer = Detokenizer::after(model.clone(), &[]);
    let mut end = 0;
    let offset = |&token: &u32| {
        let start = end;
        end += detokenizer.push(token).chars().count();
        start
    };
    tokens.iter().map(offset).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::served;

    fn model() -> Arc<ServedModel> {
        Arc::new(served::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model"), None).unwrap())
    }

    fn scores(count: usize) -> Vec<v1::PromptScore> {
        let top = vec![v1::TopLogprob { id: 101, logprob: -0.25 }];
        let logprob = v1::TokenLogprob { logprob: -1.5, top };
        let mut scores = vec![v1::PromptScore { logprob: Some(logprob), rank: 7 }; count];
        scores[0] = v1::PromptScore::default();
        scores
    }

    #[test]
    fn tokens_have_their_texts_and_places_and_the_first_no_score() {
        let model = model();
        let text = "hello world";
        let ids = model.tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        let named = named(&model, &ids, scores(ids.len()), Some(text));
        assert_eq!((named.tokens.len(), named.characters), (ids.len(), 11));
        assert!(named.tokens[0].score.is_none());
        let score = named.tokens[1].score.as_ref().unwrap();
        assert_eq!((score.rank, score.token.logprob(), score.token.text()), (7, -1.5, &*named.tokens[1].text));
        assert_eq!((score.top[0].0, score.top[0].1.logprob()), (101, -0.25));
        let places = named.tokens.windows(2).map(|pair| (pair[0].offset, pair[1].offset));
        for (token, (start, end)) in named.tokens.iter().zip(places) {
            let shown: String = text.chars().skip(start).take(end - start).collect();
            assert!(token.text.ends_with(&shown), "{:?} shows {shown:?}", token.text);
        }
        assert!(named.tokens.last().unwrap().offset < 11);
    }

    #[test]
    fn a_prompt_that_is_not_returned_has_no_places() {
        let model = model();
        let named = named(&model, &[101, 102], scores(2), None);
        assert!(named.characters == 0 && named.tokens.iter().all(|token| token.offset == 0));
    }
}
