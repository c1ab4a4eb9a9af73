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
    reading::Reading,
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
    /// What is read off the rows besides; `None` if it is only the token.
    pub reading: Option<&'a mut Reading>,
    /// The end of the prompt, written by [`Compute::run`] for its last chunk: the first token, or nothing where no token
    /// is drawn. A prompt that fails may end earlier.
    pub ended: Option<Result<Option<Drawn>, ModelError>>,
}

impl Chunk<'_> {
    /// Whether this is the last chunk of its prompt.
    pub fn is_last(&self) -> bool {
        self.rows.end == self.prompt.len()
    }

    /// Whether the first token is drawn after this chunk.
    pub fn draws(&self) -> bool {
        self.is_last() && self.reading.as_ref().is_none_or(|reading| reading.draws())
    }

    fn wanted(&self) -> Wanted {
        match (&self.reading, self.is_last()) {
            (Some(reading), is_last) => reading.wanted(is_last),
            (None, true) => Wanted::Last,
            (None, false) => Wanted::Nothing,
        }
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
            let (wanted, input) = (chunk.wanted(), Input::Prompt(chunk.prompt, chunk.rows.clone()));
            feeds.push(Feed { input, table: &mut *chunk.table, wanted });
        }
        self.model.forward(&self.pool, &mut feeds, &mut self.space, on_layer)?;
        drop(feeds);
        self.draw(chunks);
        self.read(chunks);
        Ok(())
    }
}

impl ModelCompute {
    /// Draws the first tokens of prompts that are complete.
    fn draw(&mut self, chunks: &mut [Chunk<'_>]) {
        let mut drawn: Vec<Option<Result<Drawn, ModelError>>> = Vec::new();
        drawn.resize_with(chunks.iter().filter(|chunk| chunk.draws()).count(), || None);
        let samplers = chunks.iter_mut().filter(|chunk| chunk.draws()).map(|chunk| &mut *chunk.sampler);
        self.model.draw(&mut self.space, samplers.zip(&mut drawn));
        for (chunk, drawn) in chunks.iter_mut().filter(|chunk| chunk.draws()).zip(drawn) {
            chunk.ended = drawn.map(|drawn| drawn.map(Some));
        }
    }

    /// Reads what is read besides off the states that the pass left. A prompt whose numbers overflowed fails alone.
    fn read(&mut self, chunks: &mut [Chunk<'_>]) {
        let (hidden, states) = (self.model.info().hidden, self.space.states());
        let mut at = 0;
        for chunk in chunks {
            let len = chunk.wanted().states(chunk.rows.len()) * hidden;
            let own = &states[at..at + len];
            at += len;
            let (is_last, draws) = (chunk.is_last(), chunk.draws());
            let Some(reading) = chunk.reading.as_deref_mut() else { continue };
            match reading.read(&self.model, own, chunk.prompt, chunk.rows.clone()) {
                Err(error) => chunk.ended = Some(Err(error)),
                Ok(()) if is_last && !draws => chunk.ended = Some(Ok(None)),
                Ok(()) => {}
            }
        }
    }
}
