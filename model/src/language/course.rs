//! What a pass does beside the ordinary: who is told of it, and where calibration has it differ.

use std::sync::Arc;

use crate::language::block::Block;
use crate::stage::BlockRole;

/// A pass, seen from outside. Serving only wants to know when KV is stored; calibration leaves blocks out, starts in the
/// middle and looks at what flows.
pub(crate) trait Course {
    /// KV of all rows is stored, in the slot-th of the blocks that have KV here.
    fn stored(&mut self, _slot: usize) {}

    /// The first block to run. Those before it have their KV already; `x`, [rows, hidden], is to become the residual
    /// stream in front of it.
    fn start(&mut self, _x: &mut [f32]) -> usize {
        0
    }

    /// What this pass does with a block that the stage runs: calibration tries sets without loading them anew.
    fn role(&self, _layer: usize) -> &BlockRole {
        &BlockRole::Run
    }

    /// A block that this pass runs in the place of one of the stage's, keys and values included.
    fn stand_in(&self, _layer: usize) -> Option<Arc<Block>> {
        None
    }

    /// The residual stream in front of a block that this pass leaves out; what it becomes is what flows on.
    fn skipped(&mut self, _layer: usize, _x: &mut [f32]) {}

    /// The residual stream in front of a block of the checkpoint, [rows, hidden]; behind the last block `layer` is one more.
    fn residual(&mut self, _layer: usize, _x: &[f32]) {}

    /// Queries, keys and values of a block, turned to their positions, [rows, (heads + 2 kv_heads) head_dim].
    fn attention(&mut self, _layer: usize, _qkv: &[f32]) {}

    /// Whether [`Course::residual`] and [`Course::attention`] are to be shown all rows to the end. Otherwise the last
    /// block goes on with the wanted rows alone.
    fn looks(&self) -> bool {
        false
    }
}

/// An ordinary pass; the function is told when KV is stored.
impl<F: FnMut(usize)> Course for F {
    fn stored(&mut self, slot: usize) {
        self(slot);
    }
}
