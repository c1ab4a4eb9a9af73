//! Energies already measured: each is 256 forward passes, so none is asked for twice, by any seed or after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::null_if_infinite;
use crate::pdtrim::block_set::BlockSet;

/// Energies by set. Serialisable, so that a search that was cut off goes on where it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Memo {
    context: String,
    energies: BTreeMap<BlockSet, f64>,
}

/// A memo of another search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memo is of `{found}`, not of `{expected}`; its energies say nothing here")]
pub struct OtherContext {
    /// What the memo is of.
    pub found: String,
    /// What the search is of.
    pub expected: String,
}

impl Memo {
    /// An empty memo of the search that `context` names. All that an energy depends on, but for the set, belongs in the
    /// name: stage, checkpoint, calibration digest, and for decode what prefill drops.
    pub fn new(context: impl Into<String>) -> Self {
        Self { context: context.into(), energies: BTreeMap::new() }
    }

    /// What it is of.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Number of sets it knows.
    pub fn len(&self) -> usize {
        self.energies.len()
    }

    /// Whether it knows no set.
    pub fn is_empty(&self) -> bool {
        self.energies.is_empty()
    }

    /// A set's energy, if it was measured.
    pub fn get(&self, removed: BlockSet) -> Option<f64> {
        self.energies.get(&removed).copied()
    }

    /// Remembers an energy, also one that the caller measured by itself. What is not finite counts as infinite: a set
    /// whose loss overflows is never a good one.
    pub fn insert(&mut self, removed: BlockSet, energy: f64) -> f64 {
        let energy = if energy.is_finite() { energy } else { f64::INFINITY };
        self.energies.insert(removed, energy);
        energy
    }
}

/// The memo in JSON, where a map's keys cannot be lists.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    context: String,
    energies: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    removed: BlockSet,
    #[serde(with = "null_if_infinite")]
    energy: f64,
}

impl From<Written> for Memo {
    fn from(written: Written) -> Self {
        let mut memo = Memo::new(written.context);
        for Entry { removed, energy } in written.energies {
            memo.insert(removed, energy);
        }
        memo
    }
}

impl From<Memo> for Written {
    fn from(memo: Memo) -> Self {
        let energies = memo.energies.into_iter().map(|(removed, energy)| Entry { removed, energy }).collect();
        Self { context: memo.context, energies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_bit_for_bit() {
        let mut memo = Memo::new("decode");
        for (block, energy) in [0.1 + 0.2, 1.0 / 3.0, 5e-324, -7.25, f64::NAN].into_iter().enumerate() {
            memo.insert(BlockSet::EMPTY.with(block), energy);
        }
        let json = serde_json::to_string(&memo).unwrap();
        assert!(json.contains(r#"{"removed":[4],"energy":null}"#), "{json}");
        assert_eq!(serde_json::from_str::<Memo>(&json).unwrap(), memo);
        assert_eq!(memo.get(BlockSet::EMPTY.with(4)), Some(f64::INFINITY));
    }
}
