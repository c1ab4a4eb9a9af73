//! A memo of measured losses: each part of the samples is many forward passes, so no loss is measured twice, not by
//! another seed and not after a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pdtrim::block_set::BlockSet;

/// Losses by set, sample by sample. Serialisable, so that an interrupted search continues where it stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Memo {
    context: String,
    /// Losses of each set, for the first parts of the samples, in order; infinite if a loss was not finite.
    nats: BTreeMap<BlockSet, Vec<f64>>,
}

/// Error for a memo that belongs to another search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memo is of `{found}`, not of `{expected}`; its losses say nothing here")]
pub struct OtherContext {
    /// Context of the memo.
    pub found: String,
    /// Context of the search.
    pub expected: String,
}

impl Memo {
    /// An empty memo for the search that `context` names. The name must include everything that a loss depends on,
    /// apart from the set: stage, checkpoint, calibration digest, how samples are cut into parts, and for decode the
    /// blocks that prefill drops.
    pub fn new(context: impl Into<String>) -> Self {
        Self { context: context.into(), nats: BTreeMap::new() }
    }

    /// Context of the search that the memo belongs to.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Number of sets with at least one measured loss.
    pub fn len(&self) -> usize {
        self.nats.len()
    }

    /// Whether no set has been measured.
    pub fn is_empty(&self) -> bool {
        self.nats.is_empty()
    }

    /// Number of measured losses, over all sets.
    pub fn samples(&self) -> usize {
        self.nats.values().map(Vec::len).sum()
    }

    /// Measured losses of a set: those of its first samples, in nats.
    pub fn get(&self, removed: BlockSet) -> &[f64] {
        self.nats.get(&removed).map_or(&[], Vec::as_slice)
    }

    /// Appends the losses of the samples after those already measured. A loss that is not finite counts as infinite: a
    /// set whose loss overflows is never a good one.
    pub fn extend(&mut self, removed: BlockSet, nats: impl IntoIterator<Item = f64>) {
        let nats = nats.into_iter().map(|nats| if nats.is_finite() { nats } else { f64::INFINITY });
        self.nats.entry(removed).or_default().extend(nats);
    }
}

/// The memo as JSON, in which a map's keys cannot be lists and infinity does not exist.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    context: String,
    sets: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    removed: BlockSet,
    nats: Vec<Option<f64>>,
}

impl From<Written> for Memo {
    fn from(written: Written) -> Self {
        let mut memo = Memo::new(written.context);
        for Entry { removed, nats } in written.sets {
            memo.extend(removed, nats.into_iter().map(|nats| nats.unwrap_or(f64::INFINITY)));
        }
        memo
    }
}

impl From<Memo> for Written {
    fn from(memo: Memo) -> Self {
        let finite = |nats: f64| nats.is_finite().then_some(nats);
        let entry = |(removed, nats): (_, Vec<f64>)| Entry { removed, nats: nats.into_iter().map(finite).collect() };
        Self { context: memo.context, sets: memo.nats.into_iter().map(entry).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_bit_for_bit() {
        let mut memo = Memo::new("decode");
        for (block, nats) in [0.1 + 0.2, 1.0 / 3.0, 5e-324, -7.25, f64::NAN].into_iter().enumerate() {
            memo.extend(BlockSet::EMPTY.with(block), [nats, 1.0]);
        }
        let json = serde_json::to_string(&memo).unwrap();
        assert!(json.contains(r#"{"removed":[4],"nats":[null,1.0]}"#), "{json}");
        assert_eq!(serde_json::from_str::<Memo>(&json).unwrap(), memo);
        assert_eq!(memo.get(BlockSet::EMPTY.with(4)), [f64::INFINITY, 1.0]);
        assert_eq!((memo.len(), memo.samples()), (5, 10));
    }
}
