//! One pass of a batch with given roles.

use std::sync::Arc;

use crate::calibrate::repairs::{self, BlockRepair};
use crate::language::{Block, Course};
use crate::stage::BlockRole;

/// The rows of a sample that a pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The prompt's rows, which a prefill node computes.
    Prefill,
    /// The answer's rows, which a decode node computes.
    Decode,
}

/// The role of each block of the checkpoint in a pass. Repairs are applied elsewhere, so a block either runs or is left
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<BlockRole>);

impl Roles {
    /// Roles in which all `layers` blocks run.
    pub fn all(layers: usize) -> Roles {
        Roles(vec![BlockRole::Run; layers])
    }

    /// Roles in which all blocks but `removed` run.
    pub fn without(layers: usize, removed: impl IntoIterator<Item = usize>) -> Roles {
        Roles::all(layers).with(removed, BlockRole::Skip)
    }

    /// These roles with `role` for the given blocks.
    pub fn with(mut self, blocks: impl IntoIterator<Item = usize>, role: BlockRole) -> Roles {
        blocks.into_iter().for_each(|layer| self.0[layer] = role.clone());
        self
    }

    /// The first block whose role differs between the two; the number of blocks if none does.
    pub(super) fn first_difference(&self, other: &Roles) -> usize {
        self.0.iter().zip(&other.0).position(|(one, other)| one != other).unwrap_or(self.0.len())
    }

    pub(super) fn of(&self, layer: usize) -> &BlockRole {
        &self.0[layer]
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

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

impl Course for Trial<'_> {
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
