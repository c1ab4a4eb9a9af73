//! Roles of the checkpoint's blocks in a stage.
//!
//! Prefill and decode each run their own set of blocks (PDTrim). Blocks that a [`Stage`] does not name run unchanged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::checkpoint::OpenFile;
use crate::error::{ModelError, Result};

/// Role of one block in a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BlockRole {
    /// The block runs.
    #[default]
    Run,
    /// The block is left out: its output is its input. None of its weights are loaded.
    Skip,
    /// The block is left out except for its keys and values, which are computed from its input: decode runs the block
    /// and needs them. Rows whose logits are wanted run it whole.
    KeysAndValues {
        /// A linear map that replaces the block for all other rows: `D`, as in [`BlockRole::Linear`].
        tensor: Option<String>,
    },
    /// The block is left out; a linear map `x + D x` replaces it.
    Linear {
        /// Name of `D`, [hidden, hidden], among the stage's repairs.
        tensor: String,
    },
    /// The block runs with other weights, which also do the work of a removed neighbour. Its keys and values do not
    /// change.
    Merged {
        /// Name prefix of the weights among the stage's repairs: `PREFIX.self_attn.q_proj.weight` and so on.
        prefix: String,
    },
}

/// Roles of all blocks of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    roles: BTreeMap<usize, BlockRole>,
    repairs: Option<RepairFile>,
}

/// The safetensors file with a stage's repairs, mapped once: the plan's identity is computed from the same bytes that
/// its tensors are loaded from, even if the file is replaced meanwhile.
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

    /// The content of the whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's content with shared ownership, for tensors that lie in it.
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
    /// A stage that runs every block except `removed`, without repairs.
    pub fn without(removed: impl IntoIterator<Item = usize>) -> Stage {
        Stage::new(removed.into_iter().map(|layer| (layer, BlockRole::Skip)), None)
    }

    /// A stage with these roles; `repairs` holds their tensors.
    pub fn new(roles: impl IntoIterator<Item = (usize, BlockRole)>, repairs: Option<RepairFile>) -> Stage {
        Stage { roles: roles.into_iter().filter(|(_, role)| *role != BlockRole::Run).collect(), repairs }
    }

    /// The role of a block.
    pub fn role(&self, layer: usize) -> &BlockRole {
        self.roles.get(&layer).unwrap_or(&BlockRole::Run)
    }

    /// The file with the repairs, if there is one.
    pub(crate) fn repairs(&self) -> Option<&RepairFile> {
        self.repairs.as_ref()
    }

    /// Checks that the stage fits a checkpoint of `layers` blocks.
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
