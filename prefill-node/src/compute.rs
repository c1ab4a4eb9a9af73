//! What the engine needs of a model. A trait, so that load tests of thousands of prompts can run on a simulated one.

use std::{
    ops::{ControlFlow, Range},
    time::Instant,
};

use secateur_model::{
    BlockTable, Drawn, Feed, Input, KvPool, Model, ModelError, Picture, Prompt, Sampler, Segment, VisualTokens, Wanted,
    Workspace,
};
use secateur_proto::v1;
use secateur_pruning::{Rows, VisualMethod, budget, trimtokenator};
use secateur_transfer::visual;

use crate::job::{Job, Piece};

/// Rows of one prompt in a step.
pub struct Chunk<'a> {
    /// The prompt.
    pub prompt: &'a Prompt,
    /// Which rows; they begin where the table ends.
    pub rows: Range<usize>,
    /// Its KV, with room for the rows.
    pub table: &'a mut BlockTable,
    /// Draws the first token, which the last chunk of a prompt brings.
    pub sampler: &'a mut Sampler,
    /// Where that token goes.
    pub drawn: Option<Result<Drawn, ModelError>>,
}

impl Chunk<'_> {
    /// Whether it is the last one of its prompt.
    pub fn is_last(&self) -> bool {
        self.rows.end == self.prompt.len()
    }
}

/// Something that can see pictures and prefill prompts.
pub trait Compute: Send + 'static {
    /// Visual tokens of pictures, unpruned.
    fn see(&mut self, pictures: &[Picture]) -> Result<Vec<VisualTokens>, ModelError>;
    /// Prunes what was seen and lays the prompt out.
    fn assemble(&mut self, job: &Job, seen: Vec<VisualTokens>) -> Result<(Prompt, v1::VisualReport), ModelError>;
    /// Computes the chunks; `on_layer` is told when a layer's KV of all of them is stored.
    fn run(
        &mut self,
        chunks: &mut [Chunk<'_>],
        on_layer: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), ModelError>;
}

/// The model itself.
pub struct ModelCompute {
    model: Model,
    pool: KvPool,
    space: Workspace,
}

impl ModelCompute {
    /// Computes with `model` on KV in `pool`.
    pub fn new(model: Model, pool: KvPool) -> Self {
        Self { model, pool, space: Workspace::default() }
    }

    fn prune(&self, job: &Job, seen: VisualTokens) -> Result<VisualTokens, ModelError> {
        let keep = budget::kept(seen.len(), job.visual.keep());
        if keep >= seen.len() {
            return Ok(seen);
        }
        match job.visual.method() {
            VisualMethod::None => Ok(seen),
            VisualMethod::TrimTokenator => {
                let width = seen.width();
                // No words of the user's, no stage 1 (the specification's step 1).
                let text = match job.user_tokens.is_empty() {
                    true => Vec::new(),
                    false => self.model.embed_rows(&job.user_tokens)?.data,
                };
                let rows = |data, width| Rows::new(data, width).map_err(|error| shape_error(error.to_string()));
                let (visual, text) = (rows(seen.data(), width)?, rows(&text, width)?);
                let indices = trimtokenator::select(visual, text, keep, trimtokenator::STAGE1_RATIO);
                seen.keep(&indices)
            }
        }
    }
}

impl Compute for ModelCompute {
    fn see(&mut self, pictures: &[Picture]) -> Result<Vec<VisualTokens>, ModelError> {
        self.model.see(pictures)
    }

    fn assemble(&mut self, job: &Job, seen: Vec<VisualTokens>) -> Result<(Prompt, v1::VisualReport), ModelError> {
        let tokens_before: usize = seen.iter().map(VisualTokens::len).sum();
        let started = Instant::now();
        let kept = seen.into_iter().map(|seen| self.prune(job, seen)).collect::<Result<Vec<_>, _>>()?;
        let report = v1::VisualReport {
            method: visual::method_to_proto(job.visual.method()) as i32,
            images: job.images.len() as u32,
            tokens_before: tokens_before as u32,
            tokens_after: kept.iter().map(VisualTokens::len).sum::<usize>() as u32,
            prune_ms: started.elapsed().as_secs_f64() * 1e3,
        };
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

    fn run(
        &mut self,
        chunks: &mut [Chunk<'_>],
        on_layer: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), ModelError> {
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

fn shape_error(problem: String) -> ModelError {
    ModelError::Config { field: "text_config.hidden_size".to_owned(), problem }
}
