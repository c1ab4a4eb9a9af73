//! One pass of a batch with given roles.

use std::sync::Arc;

use crate::calibrate::phase::Roles;
use crate::calibrate::repairs::{self, BlockRepair};
use crate::language::{Block, PassHooks};
use crate::stage::BlockRole;

/// Residual streams of one batch before each block, as the last pass left them.
#[derive(Debug, Default)]
pub(super) struct Boundaries(Vec<Vec<f32>>);

impl Boundaries {
    pub fn new(layers: usize) -> Boundaries {
        Boundaries(vec![Vec::new(); layers])
    }

    /// Whether a pass can start at that block.
    pub fn has(&self, layer: usize) -> bool {
        self.0.get(layer).is_some_and(|stream| !stream.is_empty())
    }
}

/// A pass with given roles that starts at block `from` and records boundaries for the next pass.
pub(super) struct Trial<'a> {
    pub roles: &'a Roles,
    pub from: usize,
    pub boundaries: Option<&'a mut Boundaries>,
    /// Replacements for blocks that are left out.
    pub repairs: &'a [BlockRepair],
}

impl PassHooks for Trial<'_> {
    fn start(&mut self, x: &mut [f32]) -> usize {
        match &self.boundaries {
            Some(boundaries) if self.from > 0 => x.copy_from_slice(&boundaries.0[self.from]),
            _ => {}
        }
        self.from
    }

    fn role(&self, layer: usize) -> &BlockRole {
        self.roles.of(layer)
    }

    fn skipped(&mut self, layer: usize, x: &mut [f32]) {
        repairs::apply(self.repairs, layer, x);
    }

    fn stand_in(&self, layer: usize) -> Option<Arc<Block>> {
        repairs::stand_in(self.repairs, layer)
    }

    fn residual(&mut self, layer: usize, x: &[f32]) {
        if let Some(stream) = self.boundaries.as_mut().and_then(|boundaries| boundaries.0.get_mut(layer)) {
            stream.clear();
            stream.extend_from_slice(x);
        }
    }
}
