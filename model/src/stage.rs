//! What a stage does with each block of the checkpoint.
//!
//! Prefill and decode each run their own set of blocks (PDTrim). Blocks that a [`Stage`] does not name run as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::checkpoint::OpenFile;
use crate::error::{ModelError, Result};

/// What a stage does with one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BlockRole {
    /// It runs.
    #[default]
    Run,
    /// It is left out: its input is its output. Nothing of it is loaded.
    Skip,
    /// It is left out, but for its keys and values, which are computed from its input: decode runs it and needs them.
    /// Rows whose logits are wanted run it whole.
    KeysAndValues {
        /// For all other rows a linear map stands in its place: `D`, as in [`BlockRole::Linear`].
        tensor: Option<String>,
    },
    /// It is left out; a linear map `x + D x` stands in its place.
    Linear {
        /// `D`, [hidden, hidden], among the stage's repairs.
        tensor: String,
    },
    /// It runs with other weights, which also do the work of a neighbour that is left out. Keys and values stay its own.
    Merged {
        /// The weights are named `PREFIX.self_attn.q_proj.weight` and so on, among the stage's repairs.
        prefix: String,
    },
}

/// What a stage does with the blocks of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    roles: BTreeMap<usize, BlockRole>,
    repairs: Option<RepairFile>,
}

/// The safetensors file that a stage's repairs are in, mapped once: the bytes that identify a plan are those that its
/// tensors are loaded from, whatever the file's name stands for by then.
#[derive(Clone, PartialEq, Eq)]
pub struct RepairFile {
    path: PathBuf,
    bytes: Bytes,
}

impl RepairFile {
    /// Maps the file.
    pub fn open(path: &Path) -> Result<RepairFile, ModelError> {
        Ok(RepairFile { path: path.into(), bytes: OpenFile::open(path)?.map()? })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same, to be kept by tensors that lie in it.
    pub(crate) fn mapped(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl fmt::Debug for RepairFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RepairFile({}, {} bytes)", self.path.display(), self.bytes.len())
    }
}

impl Stage {
    /// A stage that runs every block but these, without repair.
    pub fn without(removed: impl IntoIterator<Item = usize>) -> Stage {
        Stage::new(removed.into_iter().map(|layer| (layer, BlockRole::Skip)), None)
    }

    /// A stage with these roles; `repairs` holds their tensors.
    pub fn new(roles: impl IntoIterator<Item = (usize, BlockRole)>, repairs: Option<RepairFile>) -> Stage {
        Stage { roles: roles.into_iter().filter(|(_, role)| *role != BlockRole::Run).collect(), repairs }
    }

    /// What it does with a block.
    pub fn role(&self, layer: usize) -> &BlockRole {
        self.roles.get(&layer).unwrap_or(&BlockRole::Run)
    }

    /// The file that repairs are in.
    pub(crate) fn repairs(&self) -> Option<&RepairFile> {
        self.repairs.as_ref()
    }

    /// Whether it fits a checkpoint of so many blocks.
    pub(crate) fn check(&self, layers: usize) -> Result<()> {
        if let Some(&index) = self.roles.keys().find(|&&index| index >= layers) {
            return Err(ModelError::OutOfRange { what: "removed block", index, len: layers });
        }
        if !(0..layers).any(|layer| matches!(self.role(layer), BlockRole::Run | BlockRole::Merged { .. })) {
            return Err(ModelError::config("stage", "no block would be left"));
        }
        let needs = |role: &BlockRole| match role {
            BlockRole::Linear { .. } | BlockRole::Merged { .. } => true,
            BlockRole::KeysAndValues { tensor } => tensor.is_some(),
            BlockRole::Run | BlockRole::Skip => false,
        };
        if self.repairs.is_none() && self.roles.values().any(needs) {
            return Err(ModelError::config("stage", "it has repairs, and no file that they are in"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_not_named_run() {
        let stage = Stage::without([1]);
        assert_eq!([0, 1, 2].map(|layer| stage.role(layer).clone()), [BlockRole::Run, BlockRole::Skip, BlockRole::Run]);
        assert_eq!(Stage::new([(1, BlockRole::Run)], None), Stage::default());
    }

    #[test]
    fn what_does_not_fit_a_checkpoint_is_refused() {
        assert!(Stage::without([1, 3]).check(5).is_ok());
        assert!(Stage::without([2]).check(2).is_err());
        assert!(Stage::without([0, 1]).check(2).is_err());
        let linear = [(1, BlockRole::Linear { tensor: "repair".into() })];
        assert!(Stage::new(linear, None).check(3).is_err());
    }
}
