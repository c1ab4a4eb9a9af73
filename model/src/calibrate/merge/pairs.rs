//! Which removed blocks can be merged into the block before them.

use crate::error::{ModelError, Result};

/// The blocks of `removed` that can be merged into the block before them, in the same stage: that earlier block must
/// run, and must not be the checkpoint's first block, which stays unchanged. A block can absorb only the one directly
/// after it.
pub fn mergeable(removed: &[usize]) -> Vec<usize> {
    let can = |layer: &usize| *layer >= 2 && !removed.contains(&(layer - 1));
    removed.iter().copied().filter(can).collect()
}

/// Refuses a list of merges that is not possible.
pub(in crate::calibrate) fn check(layers: usize, removed: &[usize], merged: &[usize]) -> Result<()> {
    let refuse = |problem: String| Err(ModelError::config("repair", problem));
    if let Some(&index) = removed.iter().find(|&&layer| layer >= layers) {
        return Err(ModelError::OutOfRange { what: "removed block", index, len: layers });
    }
    if let Some(layer) = merged.iter().find(|layer| !removed.contains(layer)) {
        return refuse(format!("block {layer} is to be merged, but it is not removed"));
    }
    let can = mergeable(removed);
    match merged.iter().find(|layer| !can.contains(layer)) {
        Some(layer) => {
            refuse(format!("block {layer} cannot be merged: the block before it is removed too, or must stay as it is"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_before_must_run_and_not_be_the_first() {
        assert_eq!(mergeable(&[1, 3, 4, 6]), [3, 6]);
        assert_eq!(mergeable(&[0]), [0; 0]);
        assert!(check(8, &[1, 3, 4, 6], &[3, 6]).is_ok());
        for merged in [[1], [4], [5]] {
            assert!(check(8, &[1, 3, 4, 6], &merged).is_err(), "{merged:?}");
        }
        assert!(check(6, &[6], &[6]).is_err());
    }
}
