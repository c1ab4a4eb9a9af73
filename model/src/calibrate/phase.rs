//! Phases of a pass, and the role of each block in it.

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
