//! Repairs: replacements for the removed blocks of a stage.
//!
//! \[R\] Repairs are fitted in block order. The input of a fit is the residual stream before the removed block in the
//! pruned model, with the earlier repairs in place; its target is the stream after that block in the unpruned model. So
//! each repair also compensates for what the earlier removals lost.

use std::ops::Range;
use std::sync::Arc;

use crate::calibrate::linear::LinearRepair;
use crate::calibrate::loss::Calibrator;
use crate::calibrate::merge::{self, Distillation, MergedRepair};
use crate::calibrate::trial::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::{ModelError, Result};
use crate::language::Block;

/// Replacement for one removed block.
#[derive(Clone, Debug)]
pub enum BlockRepair {
    /// A linear map.
    Linear(LinearRepair),
    /// New weights for the block before the removed one.
    Merged(MergedRepair),
}

impl BlockRepair {
    /// Index of the removed block.
    pub fn layer(&self) -> usize {
        match self {
            BlockRepair::Linear(repair) => repair.layer(),
            BlockRepair::Merged(repair) => repair.layer(),
        }
    }

    /// Remaining share, on rows that the fit did not see, of the squared distance between the stream where the removed
    /// block was and the unpruned model's stream after that block: 0 is perfect, 1 is no better than no repair.
    pub fn error(&self) -> f64 {
        match self {
            BlockRepair::Linear(repair) => repair.error(),
            BlockRepair::Merged(repair) => repair.error(),
        }
    }
}

/// Repairs of removed blocks, by phase.
#[derive(Clone, Copy, Default)]
pub struct Repairs<'a> {
    /// Repairs for rows of prompts.
    pub prefill: &'a [BlockRepair],
    /// Repairs for rows of answers.
    pub decode: &'a [BlockRepair],
}

impl<'a> Repairs<'a> {
    pub(super) fn of(self, phase: Phase) -> &'a [BlockRepair] {
        match phase {
            Phase::Prefill => self.prefill,
            Phase::Decode => self.decode,
        }
    }
}

/// Blocks and repairs that prompts run.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// Roles of the blocks.
    pub roles: &'a Roles,
    /// Repairs of the removed blocks.
    pub repairs: &'a [BlockRepair],
}

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
            let here = Here { phase, roles: &roles, repairs: &repairs, prompts };
            let repair = if kinds.merged.contains(&layer) {
                BlockRepair::Merged(self.merge(layer, here, kinds.distillation)?)
            } else {
                BlockRepair::Linear(self.linear_repair(layer, here)?)
            };
            repairs.push(repair);
        }
        Ok(repairs)
    }

    /// The residual stream after a block in the unpruned model, [rows, hidden].
    pub(super) fn whole_stream(&mut self, phase: Phase, batch: Range<usize>, layer: usize) -> Result<Vec<f32>> {
        let all = Roles::all(self.layers());
        let whole = Here { phase, roles: &all, repairs: &[], prompts: Prompts { roles: &all, repairs: &[] } };
        self.stream_before(layer + 1, batch, whole)
    }

    /// The residual stream before a block, [rows, hidden]; empty where the batch has no rows in this phase. This pass's
    /// KV stays in the cache.
    pub(super) fn stream_before(&mut self, layer: usize, batch: Range<usize>, here: Here<'_>) -> Result<Vec<f32>> {
        if here.phase == Phase::Decode {
            let Prompts { roles, repairs } = here.prompts;
            self.watch(Phase::Prefill, batch.clone(), roles, repairs, &mut |_, _| {})?;
        }
        let mut stream = Vec::new();
        self.watch(here.phase, batch, here.roles, here.repairs, &mut |_, seen| {
            if let Seen::Residual(at, x) = seen
                && at == layer
            {
                stream = x.to_vec();
            }
        })?;
        Ok(stream)
    }
}

/// A model with some blocks removed and some of them already repaired.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub phase: Phase,
    pub roles: &'a Roles,
    pub repairs: &'a [BlockRepair],
    pub prompts: Prompts<'a>,
}

/// Applies the linear map of a removed block in its place, if it has one.
pub(super) fn apply(repairs: &[BlockRepair], layer: usize, x: &mut [f32]) {
    for repair in repairs {
        match repair {
            BlockRepair::Linear(repair) if repair.layer() == layer => repair.apply(x),
            _ => {}
        }
    }
}

/// The merged block, with new weights, that runs in the place of `layer`.
pub(super) fn stand_in(repairs: &[BlockRepair], layer: usize) -> Option<Arc<Block>> {
    repairs.iter().find_map(|repair| match repair {
        BlockRepair::Merged(repair) if repair.with() == layer => Some(repair.block()),
        _ => None,
    })
}
