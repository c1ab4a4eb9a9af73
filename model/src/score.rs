//! Scores of given tokens, read off the final states of a pass a few rows at a time: the logits of a whole prompt over a
//! large vocabulary would take gigabytes.

use std::sync::Mutex;

use crate::error::{ModelError, Result};
use crate::model::Model;
use crate::sampling::Score;

/// Rows whose logits are in memory at the same time.
const ROWS: usize = 64;

impl Model {
    /// Scores of tokens, each given with the row of `states`, [rows, hidden], that it follows; see
    /// [`crate::Workspace::states`]. `top` is the number of most likely tokens that are reported with each.
    ///
    /// A score has the same bits as the log probability of an answer's token drawn behind the same row, whatever else is
    /// scored.
    pub fn score(&self, states: &[f32], tokens: &[(usize, u32)], top: usize) -> Result<Vec<Score>, ModelError> {
        let (hidden, vocab) = (self.info().hidden, self.info().vocab);
        let mut scores = Vec::with_capacity(tokens.len());
        let (mut picked, mut logits) = (Vec::new(), Vec::new());
        for slice in tokens.chunks(ROWS) {
            picked.clear();
            for &(row, _) in slice {
                let outside = ModelError::OutOfRange { what: "scored row", index: row, len: states.len() / hidden };
                picked.extend_from_slice(states.get(row * hidden..(row + 1) * hidden).ok_or(outside)?);
            }
            logits.resize(slice.len() * vocab, 0.0);
            self.language().speak(&picked, &mut logits);
            scores.append(&mut self.scores(slice, &logits, top)?);
        }
        Ok(scores)
    }

    /// Scores of tokens by the logits in front of each, in parallel on the model's threads.
    fn scores(&self, tokens: &[(usize, u32)], logits: &[f32], top: usize) -> Result<Vec<Score>> {
        // Each place is written by one thread, so its lock is never contended.
        let places: Vec<Mutex<Option<Result<Score>>>> = tokens.iter().map(|_| Mutex::new(None)).collect();
        let vocab = self.info().vocab;
        self.cpu().run(places.len(), &|at| {
            if let Ok(mut place) = places[at].lock() {
                *place = Some(Score::of(&logits[at * vocab..(at + 1) * vocab], tokens[at].1, top));
            }
        });
        let found = places.into_iter().map(|place| place.into_inner().ok().flatten());
        found.map(|score| score.unwrap_or(Err(ModelError::Logits))).collect()
    }
}
