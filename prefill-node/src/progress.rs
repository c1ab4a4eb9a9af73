//! Progress of a prompt's KV: written by the engine, followed by the ship task. It is a state and not a queue, so that
//! a slow link never stalls the engine, and KV that becomes ready together is shipped together.

use std::{sync::Arc, time::Instant};

use secateur_node::prefix::{Key, UsedView};
use tokio::sync::watch;

/// A prompt that is laid out and has its blocks.
pub struct LaidOut {
    /// Number of positions that the prompt fills.
    pub positions: u32,
    /// The rotary position that follows the prompt.
    pub next_position: u32,
    /// Prefix-cache keys of the prompt's full blocks.
    pub keys: Vec<Key>,
    /// View of the blocks into which the engine writes the prompt's KV; it keeps them leased.
    pub view: UsedView,
}

/// The end of a prompt's computation.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The first token of the answer.
    pub first_token: u32,
    /// Time at which the last model block was computed.
    pub compute_end: Instant,
}

/// State of a prompt's KV.
#[derive(Clone, Default)]
pub struct Progress {
    /// The prompt's layout; `None` until it has its blocks.
    pub laid: Option<Arc<LaidOut>>,
    /// Number of positions whose KV is stored in every model block.
    pub positions: u32,
    /// End of the positions that the current step computes.
    pub step_end: u32,
    /// Number of model blocks whose KV of the current step is stored.
    pub blocks: usize,
    /// The end of the computation; `None` while it continues.
    pub closed: Option<Closed>,
}

impl Progress {
    /// Number of positions whose KV is stored in the model block at index `slot` of those with KV.
    pub fn in_block(&self, slot: usize) -> u32 {
        if slot < self.blocks { self.step_end } else { self.positions }
    }
}

/// The engine's side: reports progress.
pub struct Reporter(watch::Sender<Progress>);

/// The ship task's side: follows progress.
pub type Follower = watch::Receiver<Progress>;

/// Creates a progress state and returns both of its sides.
pub fn progress() -> (Reporter, Follower) {
    let (sender, follower) = watch::channel(Progress::default());
    (Reporter(sender), follower)
}

// The engine ignores whether a ship task still follows: one that has ended cancels the job or reports its own error.
impl Reporter {
    /// Reports that the prompt has its blocks, and that the KV of its first `positions` positions is there already,
    /// from the prefix cache.
    pub fn laid(&self, laid: LaidOut, positions: u32) {
        self.0.send_modify(|progress| (progress.laid, progress.positions) = (Some(Arc::new(laid)), positions));
    }

    /// Reports the beginning of a step that computes positions up to `end`.
    pub fn step(&self, end: u32) {
        self.0.send_modify(|progress| (progress.step_end, progress.blocks) = (end, 0));
    }

    /// Reports that the step's KV is stored in the model block at index `slot`, and in all before it.
    pub fn block(&self, slot: usize) {
        self.0.send_modify(|progress| progress.blocks = slot + 1);
    }

    /// Reports that the step's KV is stored in every model block.
    pub fn stepped(&self) {
        self.0.send_modify(|progress| (progress.positions, progress.blocks) = (progress.step_end, 0));
    }

    /// Reports the end of the prompt's computation.
    pub fn close(&self, closed: Closed) {
        self.0.send_modify(|progress| progress.closed = Some(closed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_step_under_way_are_further() {
        let (reporter, follower) = progress();
        let found = || [0, 1, 2].map(|slot| follower.borrow().in_block(slot));
        reporter.step(100);
        assert_eq!(found(), [0, 0, 0]);
        reporter.block(0);
        reporter.block(1);
        assert_eq!(found(), [100, 100, 0]);
        reporter.stepped();
        reporter.step(164);
        assert_eq!(found(), [100, 100, 100]);
        reporter.block(0);
        assert_eq!(found(), [164, 100, 100]);
    }
}
