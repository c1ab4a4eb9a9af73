//! A job inside the engine, from its arrival to its last row.

use std::{sync::Arc, time::Instant};

use secateur_model::{BlockTable, Prompt, Sampler};
use secateur_node::{
    Permit,
    prefix::{Key, Used},
};
use secateur_proto::v1;

use super::work::Work;
use crate::{
    progress::{self, Reporter},
    reading::Reading,
};

/// A job and its phase.
pub(super) struct Entry {
    pub work: Work,
    pub phase: Phase,
}

pub(super) enum Phase {
    /// The job waits for the vision tower and its layout. It keeps its permit of the queue until it gets its blocks, or
    /// ends without them.
    Queued(Permit),
    /// The prompt is laid out and waits for blocks.
    LaidOut(LaidOut, Permit),
    /// The prompt has its blocks; its rows are computed step by step.
    Running(Box<Running>),
    /// Placeholder while `Entry::become_next` replaces the phase.
    Moving,
}

pub(super) struct LaidOut {
    pub prompt: Prompt,
    pub visual: v1::VisualReport,
    pub keys: Vec<Key>,
    pub started: Instant,
}

pub(super) struct Running {
    pub laid: LaidOut,
    pub table: BlockTable,
    /// The cached blocks in use. Declared after `table`, so dropped after it: blocks that are given back can be evicted
    /// at once, and must not be held by the table any more.
    pub used: Arc<Used>,
    pub cached: usize,
    pub sampler: Sampler,
    /// What is read off the prompt's rows besides the token that is drawn.
    pub reading: Option<Reading>,
}

impl Entry {
    pub fn new((work, permit): (Work, Permit)) -> Self {
        Entry { work, phase: Phase::Queued(permit) }
    }

    /// Moves on to [`Phase::LaidOut`]: the prompt is laid out.
    pub fn lay(&mut self, laid: LaidOut) {
        // The visual tokens are in the prompt now; the pixels and the permit to hold them are released.
        (self.work.pictures, self.work.decoding) = (Vec::new(), None);
        self.become_next(|phase| match phase {
            Phase::Queued(permit) => Phase::LaidOut(laid, permit),
            other => other,
        });
    }

    /// Moves on to [`Phase::Running`]: the prompt has its blocks, the first `cached` positions with KV from the prefix
    /// cache.
    pub fn run(&mut self, table: BlockTable, used: Arc<Used>, cached: usize) {
        let job = &self.work.job;
        // The sampler gets text tokens only, as on decode: an image placeholder is not part of the text.
        let text: Vec<u32> = job.text_tokens().collect();
        let constraint = self.work.constraint.take();
        let (sampling, stop) = (job.sampling.clone(), job.stop_token_ids.clone());
        let sampler = Sampler::constrained(sampling, stop, &text, &job.emitted, constraint);
        let (purpose, emitted) = (job.purpose, job.emitted.len());
        self.become_next(|phase| match phase {
            Phase::LaidOut(laid, _permit) => {
                let reading = Reading::of(purpose, &laid.prompt, emitted);
                Phase::Running(Box::new(Running { laid, table, used, cached, sampler, reading }))
            }
            other => other,
        });
    }

    fn become_next(&mut self, next: impl FnOnce(Phase) -> Phase) {
        let phase = std::mem::replace(&mut self.phase, Phase::Moving);
        self.phase = next(phase);
    }

    pub fn is_queued(&self) -> bool {
        matches!(self.phase, Phase::Queued(_))
    }

    pub fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }
}

impl Running {
    /// Reports the prompt's layout to the ship task, and how many of its positions the prefix cache has filled.
    pub fn announce(&self, progress: &Reporter) {
        let positions = self.laid.prompt.len();
        let laid = progress::LaidOut {
            positions: positions as u32,
            next_position: self.laid.prompt.next_position(),
            keys: self.laid.keys.clone(),
            view: self.used.view(self.table.view(positions)),
        };
        progress.laid(laid, self.cached as u32);
    }
}
