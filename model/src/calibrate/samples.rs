//! Prompts with their answers, held with their KV and cut into batches.

use std::ops::Range;

use crate::error::{ModelError, Result};
use secateur_kernels::to_f32;

use crate::kv::{BlockTable, KvPool, blocks_for};
use crate::language::{Feed, Input, Prompt, Segment, Wanted};
use crate::model::Model;

/// Most rows that one pass computes, unless a single sample has more: enough to keep every core busy, few enough that a
/// clearly worse block set shows its loss on a part of the samples.
const BATCH_ROWS: usize = 1_024;
/// One sample in this many is held out from fits, to judge them by.
const HELD_OUT: usize = 4;

/// A prompt and its correct answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Rows of the prompt and the answer.
    pub(super) rows: Prompt,
    /// Number of rows of the prompt.
    pub(super) prompt: usize,
    /// Token ids of the answer.
    pub(super) answer: Vec<u32>,
}

impl Model {
    /// Lays out a sample. The answer must have at least one token.
    pub fn sample(&self, prompt: &[Segment<'_>], answer: &[u32]) -> Result<Sample, ModelError> {
        if answer.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let prompt_rows = self.prompt(prompt)?.len();
        let mut whole = prompt.to_vec();
        whole.push(Segment::Text(answer));
        Ok(Sample { rows: self.prompt(&whole)?, prompt: prompt_rows, answer: answer.to_vec() })
    }
}

impl Sample {
    /// Number of rows of the prompt.
    pub fn prompt_rows(&self) -> usize {
        self.prompt
    }

    /// Number of rows that a decode node computes: each answer token but the last is the input of a step.
    pub fn answer_rows(&self) -> usize {
        self.answer.len() - 1
    }

    /// The answer's tokens.
    pub fn answer(&self) -> &[u32] {
        &self.answer
    }
}

/// Samples with their KV, which persists between passes.
pub(super) struct Held {
    pub samples: Vec<Sample>,
    tables: Vec<BlockTable>,
    pub pool: KvPool,
    pub batches: Vec<Range<usize>>,
}

impl Held {
    pub fn new(model: &Model, samples: Vec<Sample>) -> Result<Held> {
        let blocks = |sample: &Sample| blocks_for(sample.rows.len());
        let pool = model.kv_pool_of(samples.iter().map(blocks).sum())?;
        let mut tables = Vec::with_capacity(samples.len());
        for sample in &samples {
            let mut table = BlockTable::new(&pool);
            table.grow(pool.lease(blocks(sample)).ok_or_else(|| ModelError::cache("a new pool is not free"))?);
            tables.push(table);
        }
        let batches = batches(&samples);
        Ok(Held { samples, tables, pool, batches })
    }

    /// Whether fits leave that sample out.
    pub fn is_held_out(&self, sample: usize) -> bool {
        sample % HELD_OUT == HELD_OUT - 1
    }

    /// Keys and values of the first `positions` of a sample, each [positions, kv_heads, head_dim], as the last pass
    /// left them; keys are already rotated.
    pub fn keys_and_values(&self, sample: usize, layer_slot: usize, positions: usize) -> (Vec<f32>, Vec<f32>) {
        // SAFETY: a pass writes through the tables' `&mut`, so none runs now.
        let (keys, values) = unsafe { self.tables[sample].view(positions).layer(layer_slot) };
        let format = self.pool.geometry().format;
        let widened = |bytes: &[u8]| {
            let mut numbers = vec![0.0; bytes.len() / format.bytes()];
            to_f32(format, bytes, &mut numbers);
            numbers
        };
        (widened(&keys), widened(&values))
    }

    /// The feeds of one batch: all prompts, or all answers that have rows.
    pub fn feeds(&mut self, batch: Range<usize>, answers: bool) -> Vec<Feed<'_>> {
        let pairs = self.samples[batch.clone()].iter().zip(&mut self.tables[batch]);
        let mut feeds = Vec::new();
        for (sample, table) in pairs {
            let range = sample.range(answers);
            table.rewind(range.start);
            if !range.is_empty() {
                let wanted = if answers { Wanted::All } else { Wanted::Last };
                feeds.push(Feed { input: Input::Prompt(&sample.rows, range), table, wanted });
            }
        }
        feeds
    }
}

impl Sample {
    pub(super) fn range(&self, answers: bool) -> Range<usize> {
        if answers { self.prompt..self.prompt + self.answer_rows() } else { 0..self.prompt }
    }
}

fn batches(samples: &[Sample]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (at, sample) in samples.iter().enumerate() {
        if at > start && rows + sample.prompt > BATCH_ROWS {
            batches.push(start..at);
            (start, rows) = (at, 0);
        }
        rows += sample.prompt;
    }
    if start < samples.len() {
        batches.push(start..samples.len());
    }
    batches
}
