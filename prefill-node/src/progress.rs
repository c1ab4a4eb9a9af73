//! How far a prompt's KV is: written by the engine, followed by the ship task. A state and not a queue, so that a slow link
//! never stalls the engine and what is ready together is shipped together.

use std::{sync::Arc, time::Instant};

use secateur_node::prefix::{Key, UsedView};
use tokio::sync::watch;

/// A prompt that has its blocks.
pub struct Laid {
    /// Positions that it fills.
    pub positions: u32,
    /// The rotary position behind it.
    pub next_position: u32,
    /// What its full blocks are computed from.
    pub keys: Vec<Key>,
    /// Where its KV lies, or will; keeps it there.
    pub view: UsedView,
}

/// The end of a prompt's computation.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The token that was drawn.
    pub first_token: u32,
    /// When the last block was computed.
    pub compute_end: Instant,
}

/// How far a prompt's KV is.
#[derive(Clone, Default)]
pub struct Progress {
    /// None: it has no blocks yet.
    pub laid: Option<Arc<Laid>>,
    /// Positions whose KV is there in every block.
    pub positions: u32,
    /// Positions that the step under way computes, up to here.
    pub step_end: u32,
    /// Blocks whose KV of the step under way is there.
    pub blocks: usize,
    /// None: something is still computed.
    pub closed: Option<Closed>,
}

impl Progress {
    /// Positions whose KV is there in the block with this place among those with KV.
    pub fn in_block(&self, slot: usize) -> u32 {
        if slot < self.blocks { self.step_end } else { self.positions }
    }
}

/// The engine's end.
pub struct Reporter(watch::Sender<Progress>);

/// The ship task's end.
pub type Follower = watch::Receiver<Progress>;

/// Both ends.
pub fn progress() -> (Reporter, Follower) {
    let (sender, follower) = watch::channel(Progress::default());
    (Reporter(sender), follower)
}

// A ship task that has ended cancels the job, or reports its own error: nobody listening is no concern of the engine's.
impl Reporter {
    /// The prompt has its blocks, and the first `positions` of them are finished ones of the prefix cache.
    pub fn laid(&self, laid: Laid, positions: u32) {
        self.0.send_modify(|progress| (progress.laid, progress.positions) = (Some(Arc::new(laid)), positions));
    }

    /// A step begins that computes positions up to `end`.
    pub fn step(&self, end: u32) {
        self.0.send_modify(|progress| (progress.step_end, progress.blocks) = (end, 0));
    }

    /// The step's KV is there in the block with this place, as in all before it.
    pub fn block(&self, slot: usize) {
        self.0.send_modify(|progress| progress.blocks = slot + 1);
    }

    /// The step is done, in every block.
    pub fn stepped(&self) {
        self.0.send_modify(|progress| (progress.positions, progress.blocks) = (progress.step_end, 0));
    }

    /// The prompt is done.
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
