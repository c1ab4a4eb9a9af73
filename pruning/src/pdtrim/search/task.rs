//! The task of a search (a stage, the sets and the schedule), the energy that it minimises, and the progress that it
//! reports.

use super::{constraint::Constraint, memo::Memo, schedule::Schedule};
use crate::pdtrim::{block_set::BlockSet, document::StageKind};

/// The quantity that the search minimises: the loss per token over calibration samples, which are cut into parts. Any
/// `FnMut(BlockSet) -> Result<f64, _>` implements it, with a single sample.
pub trait Energy {
    /// Reason why a loss could not be measured. The error ends the search, which is also how a caller cancels it.
    type Error;

    /// Token counts of the samples, part by part; each sample has at least one token. The order of samples must be
    /// independent of their content, because the first parts are taken as representative of all.
    fn parts(&self) -> Vec<Vec<usize>>;

    /// Loss of each sample of one part, summed over its tokens, in nats, with these blocks dropped. The same set must
    /// always have the same losses; each part is asked for once. A loss that is not finite counts as infinite.
    fn nats(&mut self, removed: BlockSet, part: usize) -> Result<Vec<f64>, Self::Error>;
}

impl<F: FnMut(BlockSet) -> Result<f64, E>, E> Energy for F {
    type Error = E;

    fn parts(&self) -> Vec<Vec<usize>> {
        vec![vec![1]]
    }

    fn nats(&mut self, removed: BlockSet, _: usize) -> Result<Vec<f64>, E> {
        Ok(vec![self(removed)?])
    }
}

/// One stage's search.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// The stage, for progress reports.
    pub stage: StageKind,
    /// Name of the energy, for the memo; see [`Memo::new`].
    pub context: String,
    /// Sets that may be visited.
    pub constraint: Constraint,
    /// `s_l` of each block on this stage's tokens.
    pub similarity: &'a [f64],
    /// The threshold `d_T`.
    pub threshold: f64,
    /// The annealing schedule.
    pub schedule: Schedule,
}

/// The reason why a search cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The number of scores does not match the model.
    #[error("{found} similarities for {layers} blocks")]
    Scores {
        /// Number of scores given.
        found: usize,
        /// Number of blocks of the model.
        layers: usize,
    },
    /// The schedule has no seeds.
    #[error("the schedule has no seeds")]
    NoSeeds,
}

/// A phase of one seed's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Random swaps from the start, which determine the first temperature.
    Probe,
    /// Annealing.
    Anneal,
    /// Best-swap descent; one round of it tries `steps` swaps.
    Descent,
}

/// Progress of the search, reported after each visited set.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The stage searched.
    pub stage: StageKind,
    /// The seed running.
    pub seed: u64,
    /// The phase of the seed's run.
    pub phase: Phase,
    /// Sets visited in this phase, from 1.
    pub step: usize,
    /// Sets that this phase visits.
    pub steps: usize,
    /// Sets measured since [`Search::run`](super::Search::run) began, over all seeds.
    pub evaluations: usize,
    /// Lowest energy of this seed so far, on the samples on which that set was measured.
    pub best: f64,
    /// Temperature; 0 outside annealing.
    pub temperature: f64,
    /// The losses measured so far, which a caller can save.
    pub memo: &'a Memo,
}
