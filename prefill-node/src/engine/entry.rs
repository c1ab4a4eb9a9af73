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

/// A job and how far it is.
pub(super) struct Entry {
    pub work: Work,
    pub stage: Stage,
}

pub(super) enum Stage {
    /// Its pictures have not been looked at. It has its place in the queue until it gets its blocks, or ends without them.
    Queued(Place),
    /// It waits for blocks.
    Laid(Laid, Place),
    /// Its rows are computed, step by step.
    Running(Box<Running>),
    /// Between two of these.
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
    /// Behind the table: what is given back can be evicted at once, and is to be free then.
    pub used: Arc<Used>,
    pub cached: usize,
    pub sampler: Sampler,
}

impl Entry {
    pub fn new((work, place): (Work, Place)) -> Self {
        Entry { work, stage: Stage::Queued(place) }
    }

    /// Its prompt is laid out.
    pub fn lay(&mut self, laid: Laid) {
        // What they became is in the prompt; the pixels, and the right to hold them, go.
        (self.work.pictures, self.work.decoding) = (Vec::new(), None);
        self.become_next(|stage| match stage {
            Stage::Queued(place) => Stage::Laid(laid, place),
            other => other,
        });
    }

    /// It has its blocks.
    pub fn run(&mut self, table: BlockTable, used: Arc<Used>, cached: usize) {
        let job = &self.work.job;
        // Text alone, as decode has it: a placeholder is not something that was said.
        let text: Vec<u32> = job.text_tokens().collect();
        let sampler = Sampler::new(job.sampling.clone(), job.stop_token_ids.clone(), &text, &job.emitted);
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
    /// Tells the ship task how long the prompt is, and what is there of it.
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
