//! Fits of repairs for the removed blocks of a stage, one after another.
//!
//! \[R\] Repairs are fitted in block order. The input of a fit is the residual stream before the removed block in the
//! pruned model, with the earlier repairs in place; its target is the stream after that block in the unpruned model. So
//! each repair also compensates for what the earlier removals lost.

use crate::calibrate::loss::Calibrator;
use crate::calibrate::merge::{self, Distillation};
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::repairs::{BlockRepair, Prompts};
use crate::calibrate::streams::Trimmed;
use crate::error::{ModelError, Result};

/// Kinds of repairs to fit.
#[derive(Clone, Copy)]
struct Kinds<'a> {
    merged: &'a [usize],
    distillation: &'a Distillation,
}

impl Calibrator<'_> {
    /// Fits linear maps for the blocks in `removed`, ascending, that one phase leaves out. When answers are repaired,
    /// `prompts` says which blocks and repairs their prompts run, because answers attend to the prompts' KV.
    pub fn linear_repairs(
        &mut self,
        phase: Phase,
        removed: &[usize],
        prompts: Prompts<'_>,
    ) -> Result<Vec<BlockRepair>, ModelError> {
        self.repairs(phase, removed, prompts, Kinds { merged: &[], distillation: &Distillation::default() })
    }

    /// Fits repairs for the blocks in `removed`: those also in `merged` are merged into the blocks before them, the
    /// others get linear maps. [`mergeable`](super::mergeable) lists the blocks that can be merged.
    pub fn merged_repairs(
        &mut self,
        phase: Phase,
        removed: &[usize],
        merged: &[usize],
        prompts: Prompts<'_>,
        distillation: &Distillation,
    ) -> Result<Vec<BlockRepair>, ModelError> {
        merge::check(self.layers(), removed, merged)?;
        distillation.check()?;
        self.repairs(phase, removed, prompts, Kinds { merged, distillation })
    }

    fn repairs(
        &mut self,
        phase: Phase,
        removed: &[usize],
        prompts: Prompts<'_>,
        kinds: Kinds<'_>,
    ) -> Result<Vec<BlockRepair>> {
        let roles = Roles::without(self.layers(), removed.iter().copied());
        let mut repairs: Vec<BlockRepair> = Vec::with_capacity(removed.len());
        for &layer in removed {
            let trimmed = Trimmed { phase, roles: &roles, repairs: &repairs, prompts };
            let repair = if kinds.merged.contains(&layer) {
                BlockRepair::Merged(self.merge(layer, trimmed, kinds.distillation)?)
            } else {
                BlockRepair::Linear(self.linear_repair(layer, trimmed)?)
            };
            repairs.push(repair);
        }
        Ok(repairs)
    }
}
