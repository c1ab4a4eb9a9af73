//! The blocks to drop: annealed search over sets of one size (PDTrim).
//!
//! \[P\] An iterative search in the style of simulated annealing, separately for prefill and decode. \[R\] All numbers:
//! a state is a set of `n` blocks, its energy the calibration loss on the stage's tokens with these blocks dropped. The
//! start is the `n` blocks with the highest `s_l`; a move swaps one; it is accepted if `dE <= 0`, else with probability
//! `exp(-dE / T)`; `T_0` is the median `|dE|` of 16 random swaps, `T` falls by a factor of 0.95 in each of 200 steps.
//! Then follows best-swap descent from the best state seen. Five seeds run; the best of them wins, and the plan logs
//! all.
//!
//! The energy is a trait, so this crate needs no model. Two sets are compared on as many samples as it takes to tell
//! them apart (`race`). Measured losses are memoised by set across seeds: on a small model, where there are fewer sets
//! than steps, the search as published costs no more than trying them all.

pub mod constraint;
pub mod log;
pub mod memo;
mod race;
pub mod schedule;
mod task;
mod walk;

pub use constraint::{Constraint, ConstraintError};
pub use log::{SeedRun, StageLog};
pub use memo::{Memo, OtherContext};
pub use schedule::Schedule;
pub use task::{Energy, Phase, Progress, Task, TaskError};

use super::{block_set::BlockSet, redundancy::Split};
use walk::{Parts, Walk};

/// The reason why a search ended without a result. Its memo keeps the measured losses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError<E> {
    /// An energy could not be measured.
    #[error("the loss could not be measured: {0}")]
    Energy(E),
    /// No set has a finite loss.
    #[error("none of {0} sets of blocks has a finite loss")]
    NothingFinite(usize),
}

/// Result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The blocks to drop.
    pub removed: BlockSet,
    /// Energy of these blocks; finite.
    pub energy: f64,
    /// The dropped blocks that are in the distillation set, which need a repair.
    pub needs_repair: BlockSet,
    /// Number of sets measured in this run; 0 if the memo knew them all.
    pub evaluations: usize,
    /// The record for the plan.
    pub log: StageLog,
}

/// A search and its measured losses.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    task: Task<'a>,
    split: Split,
    memo: Memo,
}

impl<'a> Search<'a> {
    /// A search without any measured losses.
    pub fn new(task: Task<'a>) -> Result<Self, TaskError> {
        let (found, layers) = (task.similarity.len(), task.constraint.layers());
        if found != layers {
            return Err(TaskError::Scores { found, layers });
        }
        if task.schedule.seeds.is_empty() {
            return Err(TaskError::NoSeeds);
        }
        let (split, memo) = (Split::at(task.similarity, task.threshold), Memo::new(task.context.clone()));
        Ok(Self { task, split, memo })
    }

    /// Continues the search with the measured losses of an earlier run.
    pub fn resume(self, memo: Memo) -> Result<Self, OtherContext> {
        if memo.context() != self.task.context {
            return Err(OtherContext { found: memo.context().to_owned(), expected: self.task.context });
        }
        Ok(Self { memo, ..self })
    }

    /// The measured losses; also available after an error.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Runs every seed. The same task gives the same outcome.
    pub fn run<E: Energy>(
        &mut self,
        energy: &mut E,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<Outcome, SearchError<E::Error>> {
        let mut evaluations = 0;
        let parts = Parts::new(&energy.parts());
        let mut runs: Vec<SeedRun> = Vec::with_capacity(self.task.schedule.seeds.len());
        for &seed in &self.task.schedule.seeds {
            let walk = Walk {
                task: &self.task,
                split: self.split,
                seed,
                parts: &parts,
                memo: &mut self.memo,
                evaluations: &mut evaluations,
                energy: &mut *energy,
                progress: &mut progress,
            };
            runs.push(walk.run().map_err(SearchError::Energy)?);
        }
        let distilled = |run: &SeedRun| run.removed.intersection(self.split.distill).len();
        let best = runs
            .iter()
            .min_by(|one, other| one.energy.total_cmp(&other.energy).then(distilled(one).cmp(&distilled(other))));
        let best = best.filter(|best| best.energy.is_finite());
        let &SeedRun { removed, energy, .. } = best.ok_or(SearchError::NothingFinite(self.memo.len()))?;
        let measured = self.memo.samples() as f64 / (self.memo.len() * parts.samples()).max(1) as f64;
        let log = StageLog { dense: None, evaluations: self.memo.len(), measured, runs };
        let needs_repair = removed.intersection(self.split.distill);
        Ok(Outcome { removed, energy, needs_repair, evaluations, log })
    }
}
