//! Source of a shipment: a prompt's KV in the blocks into which the engine writes it.

use std::{ops::Range, sync::Arc};

use secateur_node::Identity;
use secateur_transfer::{codec::Plane, send::KvSource};

use crate::progress::LaidOut;

/// KV of a prompt, addressed by the layer's index in the checkpoint.
#[derive(Clone)]
pub struct Source {
    /// The prompt's layout and the view of its blocks.
    pub laid: Arc<LaidOut>,
    /// Identity of this node, with the list of its layers that have KV.
    pub identity: Arc<Identity>,
}

impl Source {
    /// Index of `layer` among the layers with KV on this node. Manifests list no other layers.
    pub fn slot(&self, layer: u32) -> usize {
        self.identity.kv_layers.partition_point(|&other| other < layer)
    }
}

impl KvSource for Source {
    fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>) {
        let (slot, positions) = (self.slot(layer), positions.start as usize..positions.end as usize);
        // SAFETY: parts are sent only when `Progress::in_block` says that the engine has stored their positions in this
        // block, and a stored row of a prompt is not written again. The channel of the progress orders the two threads.
        unsafe {
            match plane {
                Plane::K => self.laid.view.copy_keys(slot, positions, into),
                Plane::V => self.laid.view.copy_values(slot, positions, into),
            }
        }
    }
}
