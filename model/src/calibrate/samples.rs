//! Prompts with their answers, held with their KV and cut into batches.

use std::ops::Range;

use crate::error::{ModelError, Result};
use crate::kv::{BlockTable, KvPool, blocks_for};
use crate::language::{Feed, Input, Prompt, Segment, Wanted};
use crate::model::Model;

/// Rows that one pass computes at most, unless one sample alone has more.
const BATCH_ROWS: usize = 2_048;

/// A prompt and the answer that is right.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Both, row by row.
    pub(super) rows: Prompt,
    /// Rows of the prompt.
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
    /// Rows of the prompt.
    pub fn prompt_rows(&self) -> usize {
        self.prompt
    }

    /// Rows that a decode node computes: each answer token but the last is the input of a step.
    pub fn answer_rows(&self) -> usize {
        self.answer.len() - 1
    }

    /// The answer's tokens.
    pub fn answer(&self) -> &[u32] {
        &self.answer
    }
}

/// Samples with their KV, which stays from pass to pass.
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
        match answers {
            false => 0..self.prompt,
            true => self.prompt..self.prompt + self.answer_rows(),
        }
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
