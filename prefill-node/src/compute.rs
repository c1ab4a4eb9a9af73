//! The operations that the engine needs of a model. A trait, so that load tests of thousands of prompts can run on a
//! simulated model.

use std::ops::Range;

use secateur_model::{
    BlockTable, Drawn, Feed, Input, KvPool, Model, ModelError, Picture, Prompt, Sampler, Segment, VisualTokens, Wanted,
    Workspace,
};
use secateur_proto::v1;

use crate::{
    job::{Job, Piece},
    prune::{Pruner, Seen},
};

/// The rows of one prompt that a step computes.
pub struct Chunk<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// Range of rows in the prompt; it begins where the table ends.
    pub rows: Range<usize>,
    /// Block table of the prompt's KV, with room for the rows.
    pub table: &'a mut BlockTable,
    /// Sampler for the first token, which is drawn after the prompt's last chunk.
    pub sampler: &'a mut Sampler,
    /// The first token, written by [`Compute::run`] for the last chunk of a prompt.
    pub drawn: Option<Result<Drawn, ModelError>>,
}

impl Chunk<'_> {
    /// Whether this is the last chunk of its prompt.
    pub fn is_last(&self) -> bool {
        self.rows.end == self.prompt.len()
    }
}

/// A model that can encode pictures and prefill prompts.
pub trait Compute: Send + 'static {
    /// Runs pictures through the vision tower; returns the unpruned visual tokens of each.
    fn see(&mut self, pictures: &[Picture]) -> Result<Vec<VisualTokens>, ModelError>;
    /// Prunes visual tokens and lays out the prompt's rows.
    fn assemble(&mut self, job: &Job, seen: Vec<Seen>) -> Result<(Prompt, v1::VisualReport), ModelError>;
    /// Computes the chunks in one pass. `on_layer` is called with a layer's index as soon as the layer's KV of all
    /// chunks is stored.
    fn run(&mut self, chunks: &mut [Chunk<'_>], on_layer: &mut dyn FnMut(usize)) -> Result<(), ModelError>;
}

/// [`Compute`] on a real model.
pub struct ModelCompute {
    model: Model,
    pool: KvPool,
    space: Workspace,
    pruner: Pruner,
}

impl ModelCompute {
    /// Computes with `model` on KV in `pool`.
    pub fn new(model: Model, pool: KvPool) -> Self {
        Self { model, pool, space: Workspace::default(), pruner: Pruner::default() }
    }
}

impl Compute for ModelCompute {
    fn see(&mut self, pictures: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        self.model.see(pictures)
    }

    fn assemble(&mut self, job: &Job, seen: Vec<Seen>) -> Result<(Prompt, v1::VisualReport), ModelError> {
        let (kept, report) = self.pruner.prune(&self.model, job, seen)?;
        let mut kept = kept.into_iter();
        let segment = |piece: &Piece| match piece {
            Piece::Text(range) => Segment::Text(&job.tokens[range.clone()]),
            // `Job::new` proved that there is one picture for each image token, in order.
            Piece::Image(_) => kept.next().map_or(Segment::Text(&[]), Segment::Visual),
        };
        let mut segments: Vec<Segment<'_>> = job.pieces.iter().map(segment).collect();
        segments.push(Segment::Text(&job.emitted));
        Ok((self.model.prompt(&segments)?, report))
    }

    fn run(&mut self, chunks: &mut [Chunk<'_>], on_layer: &mut dyn FnMut(usize)) -> Result<(), ModelError> {
        let mut feeds: Vec<Feed<'_>> = Vec::with_capacity(chunks.len());
        for chunk in &mut *chunks {
            let wanted = if chunk.is_last() { Wanted::Last } else { Wanted::Nothing };
            let input = Input::Prompt(chunk.prompt, chunk.rows.clone());
            feeds.push(Feed { input, table: &mut *chunk.table, wanted });
        }
        self.model.forward(&self.pool, &mut feeds, &mut self.space, on_layer)?;
        drop(feeds);
        let last = chunks.iter_mut().filter(|chunk| chunk.is_last());
        self.model.draw(&mut self.space, last.map(|chunk| (&mut *chunk.sampler, &mut chunk.drawn)));
        Ok(())
    }
}
