//! What is read off the final states of a prompt's rows, besides the token that is drawn behind the last one: scores of
//! the prompt's own tokens, or one vector in the token's place.
//!
//! Rows come in chunks and in order; what is read does not depend on how they are cut. A prompt of which every row is
//! read computes all of them, so that it takes no KV from the prefix cache.

use std::ops::Range;

use secateur_model::{Model, ModelError, Prompt, PromptRow, Wanted};
use secateur_node::handshake;
use secateur_proto::v1;

use crate::job::{Piece, Pooling, Purpose};

/// What is read off a prompt's rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Scores of the prompt's tokens, beside the token that is drawn.
    Scores(Scores),
    /// One vector; no token is drawn.
    Vector(Pooled),
}

/// Scores of a prompt's text tokens so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Most likely tokens that are reported in the place of each.
    top: usize,
    /// Rows of the prompt; those of a replay's emitted tokens follow them and are not scored.
    rows: usize,
    /// One for each row so far that is a text token.
    found: Vec<v1::PromptScore>,
}

/// States of a prompt's rows so far, put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled {
    pooling: Pooling,
    /// The last state, or the sum of all.
    states: Vec<f64>,
    rows: usize,
}

impl Reading {
    /// What is read off a prompt of this purpose, of whose rows the last `emitted` are an answer's tokens; `None` if
    /// only a token is drawn.
    pub fn of(purpose: Purpose, prompt: &Prompt, emitted: usize) -> Option<Self> {
        match purpose {
            Purpose::Answer { score_top } => {
                score_top.map(|top| Self::Scores(Scores::new(top, prompt, prompt.len().saturating_sub(emitted))))
            }
            Purpose::Vector(pooling) => Some(Self::Vector(Pooled { pooling, states: Vec::new(), rows: 0 })),
        }
    }

    /// Whether a token is drawn as well.
    pub fn draws(&self) -> bool {
        matches!(self, Self::Scores(_))
    }

    /// What a pass has to leave of a chunk's rows.
    pub fn wanted(&self, is_last: bool) -> Wanted {
        match (self, is_last) {
            (Self::Scores(_), true) => Wanted::StatesAndLast,
            (Self::Vector(Pooled { pooling: Pooling::Last, .. }), false) => Wanted::Nothing,
            _ => Wanted::States,
        }
    }

    /// Reads a chunk's rows off the `states` that its pass left of them.
    pub fn read(
        &mut self,
        model: &Model,
        states: &[f32],
        prompt: &Prompt,
        rows: Range<usize>,
    ) -> Result<(), ModelError> {
        match self {
            Self::Scores(scores) => {
                let found = model.score(states, &scores.behind(prompt, rows), scores.top)?;
                scores.add(found.into_iter().map(handshake::score));
            }
            Self::Vector(pooled) => states.chunks_exact(model.info().hidden).for_each(|state| pooled.add(state)),
        }
        Ok(())
    }
}

impl Scores {
    fn new(top: usize, prompt: &Prompt, rows: usize) -> Self {
        let mut scores = Self { top, rows, found: Vec::with_capacity(rows) };
        // Nothing stands before the first token.
        if let Some(PromptRow::Token(_)) = prompt.rows().first() {
            scores.found.push(v1::PromptScore::default());
        }
        scores
    }

    /// The text tokens that stand behind rows of a chunk, each with the place of its row in the chunk.
    pub fn behind(&self, prompt: &Prompt, rows: Range<usize>) -> Vec<(usize, u32)> {
        let scored = &prompt.rows()[..self.rows.min(prompt.len())];
        let behind = scored.get(rows.start + 1..scored.len().min(rows.end + 1)).unwrap_or_default();
        let token = |(at, row): (usize, &PromptRow)| match row {
            PromptRow::Token(token) => Some((at, *token)),
            PromptRow::Visual { .. } => None,
        };
        behind.iter().enumerate().filter_map(token).collect()
    }

    /// Adds the scores of [`Scores::behind`] a chunk's rows.
    pub fn add(&mut self, found: impl IntoIterator<Item = v1::PromptScore>) {
        self.found.extend(found);
    }

    /// The scores of a request's tokens, which `pieces` cut into text and pictures; a picture has an empty one.
    pub fn of_tokens(self, pieces: &[Piece]) -> Vec<v1::PromptScore> {
        let mut found = self.found.into_iter();
        let mut scores = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(range) => scores.extend(found.by_ref().take(range.len())),
                Piece::Image(_) => scores.push(v1::PromptScore::default()),
            }
        }
        scores
    }
}

impl Pooled {
    /// Adds the state of the next row.
    pub fn add(&mut self, state: &[f32]) {
        self.rows += 1;
        match self.pooling {
            Pooling::Mean if self.states.len() == state.len() => {
                self.states.iter_mut().zip(state).for_each(|(sum, &number)| *sum += f64::from(number));
            }
            _ => self.states = state.iter().copied().map(f64::from).collect(),
        }
    }

    /// The vector. Fails if it is not of numbers.
    pub fn vector(&self) -> Result<Vec<f32>, ModelError> {
        let rows = match self.pooling {
            Pooling::Mean => self.rows.max(1) as f64,
            Pooling::Last => 1.0,
        };
        let vector: Vec<f32> = self.states.iter().map(|sum| (sum / rows) as f32).collect();
        if vector.iter().all(|number| number.is_finite()) { Ok(vector) } else { Err(ModelError::States) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(tokens: &[u32]) -> Prompt {
        Prompt::of_text(tokens).unwrap()
    }

    fn scores(prompt: &Prompt, emitted: usize) -> Scores {
        match Reading::of(Purpose::Answer { score_top: Some(3) }, prompt, emitted) {
            Some(Reading::Scores(scores)) => scores,
            other => panic!("{other:?}"),
        }
    }

    fn score(rank: u32) -> v1::PromptScore {
        v1::PromptScore { logprob: Some(v1::TokenLogprob::default()), rank }
    }

    #[test]
    fn every_token_but_the_first_stands_behind_one_row_however_rows_are_cut() {
        let prompt = prompt(&[5, 6, 7, 8, 9]);
        for emitted in [0, 2] {
            let scores = scores(&prompt, emitted);
            let whole: Vec<u32> = scores.behind(&prompt, 0..5).into_iter().map(|(_, token)| token).collect();
            assert_eq!(whole, [6, 7, 8, 9][..4 - emitted], "tokens of an answer are none of the prompt's");
            for cut in 1..5 {
                let both = [scores.behind(&prompt, 0..cut), scores.behind(&prompt, cut..5)];
                assert_eq!(both.concat().iter().map(|(_, token)| *token).collect::<Vec<_>>(), whole);
                assert!(both[1].first().is_none_or(|(row, _)| *row == 0));
            }
        }
    }

    #[test]
    fn pictures_have_empty_scores_in_their_places() {
        let prompt = prompt(&[5, 6, 7]);
        let mut scores = scores(&prompt, 0);
        scores.add([score(4), score(2)]);
        let ranks = |pieces: &[Piece]| -> Vec<u32> {
            scores.clone().of_tokens(pieces).into_iter().map(|score| score.rank).collect()
        };
        assert_eq!(ranks(&[Piece::Text(0..3)]), [0, 4, 2]);
        assert_eq!(ranks(&[Piece::Text(0..2), Piece::Image(0), Piece::Text(3..4)]), [0, 4, 0, 2]);
    }

    #[test]
    fn a_vector_is_the_last_state_or_the_mean_of_all() {
        let pooled = |pooling| {
            let mut pooled = Pooled { pooling, states: Vec::new(), rows: 0 };
            [[1.0, 0.0], [2.0, 1.0], [6.0, -4.0]].iter().for_each(|state| pooled.add(state));
            pooled.vector().unwrap()
        };
        assert_eq!((pooled(Pooling::Last), pooled(Pooling::Mean)), (vec![6.0, -4.0], vec![3.0, -1.0]));
        let mut broken = Pooled { pooling: Pooling::Mean, states: Vec::new(), rows: 0 };
        broken.add(&[f32::NAN]);
        assert!(matches!(broken.vector(), Err(ModelError::States)));
    }

    #[test]
    fn only_what_is_read_is_left_by_a_pass() {
        let prompt = prompt(&[5, 6]);
        let wanted = |purpose| {
            let reading = Reading::of(purpose, &prompt, 0).unwrap();
            (reading.wanted(false), reading.wanted(true), reading.draws())
        };
        assert_eq!(Reading::of(Purpose::Answer { score_top: None }, &prompt, 0), None);
        let scored = wanted(Purpose::Answer { score_top: Some(0) });
        assert_eq!(scored, (Wanted::States, Wanted::StatesAndLast, true));
        assert_eq!(wanted(Purpose::Vector(Pooling::Mean)), (Wanted::States, Wanted::States, false));
        assert_eq!(wanted(Purpose::Vector(Pooling::Last)), (Wanted::Nothing, Wanted::States, false));
    }
}
