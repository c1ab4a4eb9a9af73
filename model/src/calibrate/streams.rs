//! Residual streams before a block: those of the unpruned model, and those of a pruned one with its repairs so far.

use std::ops::Range;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::repairs::{BlockRepair, Prompts};
use crate::calibrate::watch::Seen;
use crate::error::Result;

/// A model with some blocks removed and some of them already repaired.
#[derive(Clone, Copy)]
pub(super) struct Trimmed<'a> {
    pub phase: Phase,
    pub roles: &'a Roles,
    pub repairs: &'a [BlockRepair],
    pub prompts: Prompts<'a>,
}

impl Calibrator<'_> {
    /// The residual stream after a block in the unpruned model, [rows, hidden].
    pub(super) fn whole_stream(&mut self, phase: Phase, batch: Range<usize>, layer: usize) -> Result<Vec<f32>> {
        let all = Roles::all(self.layers());
        let whole = Trimmed { phase, roles: &all, repairs: &[], prompts: Prompts { roles: &all, repairs: &[] } };
        self.stream_before(layer + 1, batch, whole)
    }

    /// The residual stream before a block, [rows, hidden]; empty where the batch has no rows in this phase. This pass's
    /// KV stays in the cache.
    pub(super) fn stream_before(
        &mut self,
        layer: usize,
        batch: Range<usize>,
        trimmed: Trimmed<'_>,
    ) -> Result<Vec<f32>> {
        if trimmed.phase == Phase::Decode {
            let Prompts { roles, repairs } = trimmed.prompts;
            self.watch(Phase::Prefill, batch.clone(), roles, repairs, &mut |_, _| {})?;
        }
        let mut stream = Vec::new();
        self.watch(trimmed.phase, batch, trimmed.roles, trimmed.repairs, &mut |_, seen| {
            if let Seen::Residual(at, x) = seen
                && at == layer
            {
                stream = x.to_vec();
            }
        })?;
        Ok(stream)
    }
}
