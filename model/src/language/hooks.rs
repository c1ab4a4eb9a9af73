//! Hooks into a forward pass: serving is told when KV is stored, calibration observes and changes the pass.

use std::sync::Arc;

use secateur_kernels::Beside;

use crate::language::block::Block;
use crate::stage::BlockRole;

/// Observer and modifier of a pass. Serving only needs to know when KV is stored; calibration leaves blocks out, starts
/// in the middle and reads residual streams, queries, keys and values.
pub(crate) trait PassHooks {
    /// Called when the KV of all rows is stored, in block number `_slot` of those that have KV here.
    fn stored(&mut self, _slot: usize) {}

    /// The first block to run. Earlier blocks have their KV already; `x`, [rows, hidden], must be set to the residual
    /// stream before that block.
    fn start(&mut self, _x: &mut [f32]) -> usize {
        0
    }

    /// Role of a block, one that the stage runs, in this pass: calibration tries block sets without reloading the
    /// model.
    fn role(&self, _layer: usize) -> &BlockRole {
        &BlockRole::Run
    }

    /// A block that this pass runs in the place of one of the stage's, keys and values included.
    fn stand_in(&self, _layer: usize) -> Option<Arc<Block>> {
        None
    }

    /// Called with the residual stream before a block that this pass leaves out; it may change the stream, which then
    /// flows on.
    fn skipped(&mut self, _layer: usize, _x: &mut [f32]) {}

    /// Called with the residual stream before a block, [rows, hidden]; after the last block, `_layer` is one past its
    /// index.
    fn residual(&mut self, _layer: usize, _x: &[f32]) {}

    /// Called with a block's queries, keys and values after rotary embedding, [rows, (heads + 2 kv_heads) head_dim].
    fn attention(&mut self, _layer: usize, _qkv: &[f32]) {}

    /// Whether [`PassHooks::residual`] and [`PassHooks::attention`] have to see all rows to the end. Otherwise the last block
    /// continues with the wanted rows alone.
    fn looks(&self) -> bool {
        false
    }

    /// Work that the model's threads do beside the last product, that of the head.
    fn beside_head(&self) -> Beside<'_> {
        Beside::NOTHING
    }
}

/// A serving pass; the function is called when KV is stored.
impl<F: FnMut(usize)> PassHooks for F {
    fn stored(&mut self, slot: usize) {
        self(slot);
    }
}

/// A serving pass of which only the logits are wanted, with other work beside the head's product.
pub(crate) struct WithBeside<'a>(pub Beside<'a>);

impl PassHooks for WithBeside<'_> {
    fn beside_head(&self) -> Beside<'_> {
        self.0
    }
}
