//! Observing the residual streams, queries, keys and values of a pass.

use std::ops::Range;
use std::sync::Arc;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::repairs::{self, BlockRepair};
use crate::error::Result;
use crate::language::{Block, PassHooks};
use crate::stage::BlockRole;

/// One observation that an onlooker is shown, of one batch.
pub(super) enum Seen<'a> {
    /// The residual stream before the block with this index, [rows, hidden]; the index one past the last block stands
    /// for the stream after it.
    Residual(usize, &'a [f32]),
    /// Queries, keys and values of the block with this index after rotary embedding, [rows, (heads + 2 kv_heads)
    /// head_dim].
    Attention(usize, &'a [f32]),
}

/// Callback that receives the row ranges of each sample of a batch and one observation of those rows.
pub(super) type Onlooker<'a> = dyn FnMut(&[Range<usize>], Seen<'_>) + 'a;

struct Watching<'a, 'b> {
    roles: &'a Roles,
    repairs: &'a [BlockRepair],
    rows: &'a [Range<usize>],
    onlooker: &'a mut Onlooker<'b>,
}

impl PassHooks for Watching<'_, '_> {
    fn role(&self, layer: usize) -> &BlockRole {
        self.roles.of(layer)
    }

    fn residual(&mut self, layer: usize, x: &[f32]) {
        (self.onlooker)(self.rows, Seen::Residual(layer, x));
    }

    fn skipped(&mut self, layer: usize, x: &mut [f32]) {
        repairs::apply(self.repairs, layer, x);
    }

    fn stand_in(&self, layer: usize) -> Option<Arc<Block>> {
        repairs::stand_in(self.repairs, layer)
    }

    fn attention(&mut self, layer: usize, qkv: &[f32]) {
        (self.onlooker)(self.rows, Seen::Attention(layer, qkv));
    }

    fn looks(&self) -> bool {
        true
    }
}

impl Calibrator<'_> {
    /// Runs one batch of a phase with these roles and repairs and shows each step to `onlooker`. Answers attend to the
    /// KV that their prompts' last pass left.
    pub(super) fn watch(
        &mut self,
        phase: Phase,
        batch: Range<usize>,
        roles: &Roles,
        repairs: &[BlockRepair],
        onlooker: &mut Onlooker<'_>,
    ) -> Result<()> {
        let rows = self.rows(phase, batch.clone());
        if rows.is_empty() {
            return Ok(());
        }
        self.forget();
        let answers = phase == Phase::Decode;
        let pool = self.held.pool.clone();
        let mut feeds = self.held.feeds(batch, answers);
        let mut watching = Watching { roles, repairs, rows: &rows, onlooker };
        self.model.language().forward(&pool, &mut feeds, &mut self.space, &mut watching)
    }

    /// Row range of each sample within a batch; samples without rows are left out.
    fn rows(&self, phase: Phase, batch: Range<usize>) -> Vec<Range<usize>> {
        let mut end = 0;
        let counts = self.held.samples[batch].iter().map(|sample| sample.range(phase == Phase::Decode).len());
        counts
            .filter(|&count| count > 0)
            .map(|count| {
                end += count;
                end - count..end
            })
            .collect()
    }
}
