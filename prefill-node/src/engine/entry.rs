//! A job inside the engine, from its arrival to its last row.

use std::{sync::Arc, time::Instant};

use secateur_model::{BlockTable, Prompt, Sampler};
use secateur_node::{
    Place,
    prefix::{Key, Used},
};
use secateur_proto::v1;

use super::work::Work;
use crate::progress::{self, Reporter};

/// A job and its stage.
pub(super) struct Entry {
    pub work: Work,
    pub stage: Stage,
}

pub(super) enum Stage {
    /// The job waits for the vision tower and its layout. It keeps its place in the queue until it gets its blocks, or
    /// ends without them.
    Queued(Place),
    /// The prompt is laid out and waits for blocks.
    Laid(Laid, Place),
    /// The prompt has its blocks; its rows are computed step by step.
    Running(Box<Running>),
    /// Placeholder while `Entry::become_next` replaces the stage.
    Moving,
}

pub(super) struct Laid {
    pub prompt: Prompt,
    pub visual: v1::VisualReport,
    pub keys: Vec<Key>,
    pub started: Instant,
}

pub(super) struct Running {
    pub laid: Laid,
    pub table: BlockTable,
    /// The cached blocks in use. Declared after `table`, so dropped after it: blocks that are given back can be evicted
    /// at once, and must not be held by the table any more.
    pub used: Arc<Used>,
    pub cached: usize,
    pub sampler: Sampler,
}

impl Entry {
    pub fn new((work, place): (Work, Place)) -> Self {
        Entry { work, stage: Stage::Queued(place) }
    }

    /// Moves on to [`Stage::Laid`]: the prompt is laid out.
    pub fn lay(&mut self, laid: Laid) {
        // The visual tokens are in the prompt now; the pixels and the permit to hold them are released.
        (self.work.pictures, self.work.decoding) = (Vec::new(), None);
        self.become_next(|stage| match stage {
            Stage::Queued(place) => Stage::Laid(laid, place),
            other => other,
        });
    }

    /// Moves on to [`Stage::Running`]: the prompt has its blocks, the first `cached` positions with KV from the prefix
    /// cache.
    pub fn run(&mut self, table: BlockTable, used: Arc<Used>, cached: usize) {
        let job = &self.work.job;
        // The sampler gets text tokens only, as on decode: an image placeholder is not part of the text.
        let text: Vec<u32> = job.text_tokens().collect();
        let constraint = self.work.constraint.take();
        let (sampling, stop) = (job.sampling.clone(), job.stop_token_ids.clone());
        let sampler = Sampler::constrained(sampling, stop, &text, &job.emitted, constraint);
        self.become_next(|stage| match stage {
            Stage::Laid(laid, _place) => Stage::Running(Box::new(Running { laid, table, used, cached, sampler })),
            other => other,
        });
    }

    fn become_next(&mut self, next: impl FnOnce(Stage) -> Stage) {
        let stage = std::mem::replace(&mut self.stage, Stage::Moving);
        self.stage = next(stage);
    }

    pub fn is_queued(&self) -> bool {
        matches!(self.stage, Stage::Queued(_))
    }

    pub fn runs(&self) -> bool {
        matches!(self.stage, Stage::Running(_))
    }
}

impl Running {
    /// Reports the prompt's layout to the ship task, and how many of its positions the prefix cache has filled.
    pub fn announce(&self, progress: &Reporter) {
        let positions = self.laid.prompt.len();
        let laid = progress::Laid {
            positions: positions as u32,
            next_position: self.laid.prompt.next_position(),
            keys: self.laid.keys.clone(),
            view: self.used.view(self.table.view(positions)),
        };
        progress.laid(laid, self.cached as u32);
    }
}
