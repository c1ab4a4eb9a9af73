//! A prompt's KV where the engine writes it, as a shipment's source.

use std::{ops::Range, sync::Arc};

use secateur_node::Identity;
use secateur_transfer::{codec::Plane, send::KvSource};

use crate::progress::Laid;

/// KV of a prompt, by the index of the block in the checkpoint.
#[derive(Clone)]
pub struct Source {
    /// The prompt.
    pub laid: Arc<Laid>,
    /// This node, and its blocks that have KV.
    pub identity: Arc<Identity>,
}

impl Source {
    /// The place of a layer among the blocks with KV here. Manifests list no others.
    pub fn slot(&self, layer: u32) -> usize {
        self.identity.kv_layers.partition_point(|&other| other < layer)
    }
}

impl KvSource for Source {
    fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>) {
        let (slot, positions) = (self.slot(layer), positions.start as usize..positions.end as usize);
        match plane {
            Plane::K => self.laid.view.copy_keys(slot, positions, into),
            Plane::V => self.laid.view.copy_values(slot, positions, into),
        }
    }
}
