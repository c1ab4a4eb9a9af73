//! What stands in for the removed blocks of a stage.
//!
//! \[R\] Repairs are fitted in the order of the blocks. Each is fitted to what flows in front of it in the model without the
//! removed blocks, with the repairs before it in place, and to what the whole model has behind the removed block. So each
//! also makes up for what was lost before it.

use std::ops::Range;
use std::sync::Arc;

use crate::calibrate::linear::LinearRepair;
use crate::calibrate::loss::Calibrator;
use crate::calibrate::merge::{self, Distillation, MergedRepair};
use crate::calibrate::trial::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::{ModelError, Result};
use crate::language::Block;

/// What stands in for one removed block.
#[derive(Clone, Debug)]
pub enum BlockRepair {
    /// A linear map.
    Linear(LinearRepair),
    /// New weights of the block before it.
    Merged(MergedRepair),
}

impl BlockRepair {
    /// The removed block.
    pub fn layer(&self) -> usize {
        match self {
            BlockRepair::Linear(repair) => repair.layer(),
            BlockRepair::Merged(repair) => repair.layer(),
        }
    }

    /// What it leaves, on rows that the fit did not see, of the squared distance between the stream where the removed
    /// block was and what the whole model has behind it: 0 is perfect, 1 no better than no repair.
    pub fn error(&self) -> f64 {
        match self {
            BlockRepair::Linear(repair) => repair.error(),
            BlockRepair::Merged(repair) => repair.error(),
        }
    }
}

/// What stands in for removed blocks, by phase.
#[derive(Clone, Copy, Default)]
pub struct Repairs<'a> {
    /// For rows of prompts.
    pub prefill: &'a [BlockRepair],
    /// For rows of answers.
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

/// What prompts run.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// Their blocks.
    pub roles: &'a Roles,
    /// What stands in for removed ones.
    pub repairs: &'a [BlockRepair],
}

/// Which repairs to fit.
#[derive(Clone, Copy)]
struct Kinds<'a> {
    merged: &'a [usize],
    distillation: &'a Distillation,
}

impl Calibrator<'_> {
    /// Maps for the blocks that `removed`, ascending, leaves out in one phase. Where answers are repaired, `prompts` is
    /// what their prompts run, with its own repairs: their KV is what answers see.
    pub fn linear_repairs(
        &mut self,
        phase: Phase,
        removed: &[usize],
        prompts: Prompts<'_>,
    ) -> Result<Vec<BlockRepair>, ModelError> {
        self.repairs(phase, removed, prompts, Kinds { merged: &[], distillation: &Distillation::default() })
    }

    /// The same, with the blocks in `merged` merged into the ones before them; see [`mergeable`](super::mergeable) for
    /// those of which that can be asked. The others get maps.
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
            let repair = match kinds.merged.contains(&layer) {
                true => BlockRepair::Merged(self.merge(layer, here, kinds.distillation)?),
                false => BlockRepair::Linear(self.linear_repair(layer, here)?),
            };
            repairs.push(repair);
        }
        Ok(repairs)
    }

    /// The stream behind a block in the whole model, [rows, hidden].
    pub(super) fn whole_stream(&mut self, phase: Phase, batch: Range<usize>, layer: usize) -> Result<Vec<f32>> {
        let all = Roles::all(self.layers());
        let whole = Here { phase, roles: &all, repairs: &[], prompts: Prompts { roles: &all, repairs: &[] } };
        self.stream_before(layer + 1, batch, whole)
    }

    /// The stream in front of a block, [rows, hidden]; empty where the batch has no rows in this phase. KV stay as this
    /// pass leaves them.
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

/// A model with some blocks removed and some of them repaired already.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub phase: Phase,
    pub roles: &'a Roles,
    pub repairs: &'a [BlockRepair],
    pub prompts: Prompts<'a>,
}

/// Puts a removed block's map, if it has one, in its place.
pub(super) fn apply(repairs: &[BlockRepair], layer: usize, x: &mut [f32]) {
    for repair in repairs {
        match repair {
            BlockRepair::Linear(repair) if repair.layer() == layer => repair.apply(x),
            _ => {}
        }
    }
}

/// The block with new weights that runs in the place of `layer`.
pub(super) fn stand_in(repairs: &[BlockRepair], layer: usize) -> Option<Arc<Block>> {
    repairs.iter().find_map(|repair| match repair {
        BlockRepair::Merged(repair) if repair.with() == layer => Some(repair.block()),
        _ => None,
    })
}
