//! Pair-merge: one block with new weights does the work of two.
//!
//! \[P\] PDTrim pairs blocks for distillation. \[R\] The training method is this project's. Of a pair `(w, r)`, `r = w
//! + 1`, block `r` is removed and `w` keeps its place with new weights, trained by gradient steps: from the stream
//! before `w` in the pruned model, with the earlier repairs in place, to the stream after `r` in the unpruned model.
//!
//! The keys and values of `w` do not change: its input norm and its key and value projections (and the norm of key
//! heads) are frozen. So KV that one stage computes with the original `w` can be read by another with the merged `w`,
//! and vice versa.
//!
//! `w` is always the earlier block of the pair. Its keys and values come from the stream before the pair, which merging
//! does not touch. Those of the later block come from the stream between the two: if the later block were kept instead,
//! its prefill would need keys of a stream that no longer exists, and its decode would need those that prefill computed
//! from that stream.
//!
//! ```text
//! pairs.rs    which removed blocks can be merged
//! rows.rs     rows of a sample that a merged block is trained on, with the KV that they see
//! capture.rs  captures those rows from passes
//! student.rs  the block as a differentiable function of its weights
//! train.rs    the gradient steps
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
use crate::calibrate::repairs::MergedRepair;
use crate::calibrate::streams::Trimmed;
use crate::error::{ModelError, Result};

pub(super) use pairs::check;
pub use pairs::mergeable;
pub use train::Distillation;

use student::Student;

impl Calibrator<'_> {
    /// Merges a removed block into the one before it.
    pub(super) fn merge(
        &mut self,
        layer: usize,
        trimmed: Trimmed<'_>,
        distillation: &Distillation,
    ) -> Result<MergedRepair> {
        let lessons = self.lessons(layer, trimmed)?;
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
