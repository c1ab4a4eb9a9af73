//! Pair-merge: one block with new weights does the work of two.
//!
//! \[P\] PDTrim pairs blocks for distillation. \[R\] How, is ours. Of a pair `(w, r)`, `r = w + 1`, block `r` is removed and `w`
//! keeps its place with new weights, trained by gradient steps: from the stream in front of `w` in the pruned model, with
//! the repairs before it in place, to the stream behind `r` in the whole one.
//!
//! Keys and values stay the block's own: input norm, key and value projections (and the norm of key heads) are frozen.
//! So what one stage computes with the original `w` another can read with the merged one, and the other way round.
//!
//! `w` is always the block before. Its keys and values come from the stream in front of the pair, which merging does not
//! touch. Those of the block behind come from the stream in the middle of the pair: a merged block of that side would have
//! to read, in prefill, keys of a stream that is no longer there, and in decode those that prefill made of it.
//!
//! ```text
//! pairs.rs       which removed blocks can be merged
//! rows.rs        rows of a sample that a merged block is trained on, with the KV that they see
//! capture.rs     takes them from passes
//! student.rs     the block as a function of its weights that gradients flow through
//! train.rs       the gradient steps
//! ```

mod capture;
mod pairs;
mod rows;
mod student;
#[cfg(test)]
mod tests;
mod train;

use std::sync::Arc;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::repairs::Here;
use crate::error::{ModelError, Result};
use crate::language::{Block, BlockTensor};

pub(super) use pairs::check;
pub use pairs::mergeable;
pub use train::Distillation;

use student::Student;

/// New weights of the block in front of a removed one.
#[derive(Clone)]
pub struct MergedRepair {
    layer: usize,
    tensors: Vec<BlockTensor>,
    block: Arc<Block>,
    error: f64,
}

impl MergedRepair {
    /// The removed block.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// The block before it, which runs with the new weights.
    pub fn with(&self) -> usize {
        self.layer - 1
    }

    /// All weights of that block, those that are as they were included.
    pub fn tensors(&self) -> &[BlockTensor] {
        &self.tensors
    }

    /// What the new weights leave of the squared distance between the stream behind block `with` and what the whole model
    /// has behind the removed block, on rows of samples that training did not see: 0 is perfect, 1 no better than block
    /// `with` by its own weights, that is, than no repair.
    pub fn error(&self) -> f64 {
        self.error
    }

    pub(super) fn block(&self) -> Arc<Block> {
        self.block.clone()
    }
}

impl std::fmt::Debug for MergedRepair {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "MergedRepair({} into {}, error {})", self.layer, self.with(), self.error)
    }
}

impl Calibrator<'_> {
    /// Merges a removed block into the one before it.
    pub(super) fn merge(&mut self, layer: usize, here: Here<'_>, distillation: &Distillation) -> Result<MergedRepair> {
        let lessons = self.lessons(layer, here)?;
        let with = layer - 1;
        let model = self.model;
        let absent = || ModelError::config("repair", format!("block {with} is not loaded"));
        let block = model.language().block(with).ok_or_else(absent)?;
        let student = Student::new(block, self.shape())?;
        let error = train::distil(&student, &lessons, distillation)?;
        let tensors = student.tensors()?;
        let block = Arc::new(block.with_tensors(&tensors)?);
        Ok(MergedRepair { layer, tensors, block, error })
    }

    fn shape(&self) -> student::Shape {
        let info = self.model.info();
        let epsilon = f64::from(self.model.language().norm_epsilon());
        student::Shape { heads: info.heads, kv_heads: info.kv_heads, head_dim: info.head_dim, epsilon }
    }
}
