//! A set of transformer blocks of one model.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const WORDS: usize = 4;

/// A set of block indices below [`BlockSet::CAPACITY`]: a bitset, so that it is a cheap key of the search's memo.
///
/// In JSON it is the list of its indices, ascending. The order of sets only serves to break ties the same way every
/// time.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSet([u64; WORDS]);

/// Error for a block index that no [`BlockSet`] can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {0} is out of range: there are at most {max} blocks", max = BlockSet::CAPACITY)]
pub struct BlockOutOfRange(pub usize);

impl BlockSet {
    /// Upper bound on block indices; the deepest published models have 126 blocks.
    pub const CAPACITY: usize = 64 * WORDS;

    /// The empty set.
    pub const EMPTY: BlockSet = BlockSet([0; WORDS]);

    /// The blocks `0..layers`.
    pub fn all(layers: usize) -> Result<Self, BlockOutOfRange> {
        Self::of(0..layers)
    }

    /// The first and the last of `layers` blocks, which \[R\] no search removes.
    pub fn ends(layers: usize) -> Result<Self, BlockOutOfRange> {
        Self::of([0, layers.saturating_sub(1)].into_iter().take(layers))
    }

    /// The set of the given blocks.
    pub fn of(blocks: impl IntoIterator<Item = usize>) -> Result<Self, BlockOutOfRange> {
        blocks.into_iter().try_fold(Self::EMPTY, |set, block| {
            if block < Self::CAPACITY { Ok(set.with(block)) } else { Err(BlockOutOfRange(block)) }
        })
    }

    /// This set plus `block`.
    ///
    /// # Panics
    /// If `block` is not below [`BlockSet::CAPACITY`].
    #[must_use]
    pub fn with(mut self, block: usize) -> Self {
        self.0[block / 64] |= 1 << (block % 64);
        self
    }

    /// This set minus `block`.
    #[must_use]
    pub fn without(mut self, block: usize) -> Self {
        if let Some(word) = self.0.get_mut(block / 64) {
            *word &= !(1 << (block % 64));
        }
        self
    }

    /// Whether `block` is in the set.
    pub fn contains(self, block: usize) -> bool {
        self.0.get(block / 64).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    /// Number of blocks in the set.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set has no block.
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// Blocks in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Blocks in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Blocks of this set that are not in `other`.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// Whether every block of this set is in `other`.
    pub fn is_subset(self, other: Self) -> bool {
        self.difference(other).is_empty()
    }

    /// The blocks, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> + Clone {
        self.0.into_iter().enumerate().flat_map(|(index, word)| {
            // Clearing the lowest set bit repeatedly visits the set bits only.
            std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)))
                .take_while(|rest| *rest != 0)
                .map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
    }

    fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        BlockSet(std::array::from_fn(|word| join(self.0[word], other.0[word])))
    }
}

impl fmt::Debug for BlockSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for BlockSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for BlockSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BlockSet::of(Vec::<usize>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn blocks() -> impl Strategy<Value = BTreeSet<usize>> {
        prop::collection::btree_set(0..BlockSet::CAPACITY, 0..40)
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_integers(a in blocks(), b in blocks()) {
            let (x, y) = (BlockSet::of(a.clone()).unwrap(), BlockSet::of(b.clone()).unwrap());
            prop_assert_eq!(x.iter().collect::<BTreeSet<_>>(), a.clone());
            prop_assert!(x.iter().collect::<Vec<_>>().is_sorted());
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.union(y), BlockSet::of(a.union(&b).copied()).unwrap());
            prop_assert_eq!(x.intersection(y), BlockSet::of(a.intersection(&b).copied()).unwrap());
            prop_assert_eq!(x.difference(y), BlockSet::of(a.difference(&b).copied()).unwrap());
            prop_assert_eq!(x.is_subset(y), a.is_subset(&b));
            let json = serde_json::to_string(&x).unwrap();
            prop_assert_eq!(serde_json::from_str::<BlockSet>(&json).unwrap(), x);
        }
    }

    #[test]
    fn with_and_without() {
        let set = BlockSet::EMPTY.with(3).with(200);
        assert!(set.contains(200) && !set.contains(4) && !set.contains(9999));
        assert_eq!(set.without(200).without(9999), BlockSet::EMPTY.with(3));
    }

    #[test]
    fn the_ends_of_shallow_models() {
        let ends = |layers| BlockSet::ends(layers).unwrap().iter().collect::<Vec<_>>();
        assert_eq!((ends(0), ends(1), ends(2), ends(8)), (vec![], vec![0], vec![0, 1], vec![0, 7]));
    }

    #[test]
    fn too_high_an_index_is_refused() {
        assert_eq!(BlockSet::all(257), Err(BlockOutOfRange(256)));
        assert!(serde_json::from_str::<BlockSet>("[1, 256]").is_err());
        assert_eq!(format!("{:?}", BlockSet::all(2).unwrap()), "{0, 1}");
    }
}
