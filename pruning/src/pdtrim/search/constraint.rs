//! The removal sets that a search may visit.

use crate::pdtrim::block_set::{BlockOutOfRange, BlockSet};

/// Sets of `size` blocks that contain every required block and no protected one. Only [`Constraint::new`] makes one, so
/// at least one such set exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constraint {
    layers: usize,
    allowed: BlockSet,
    required: BlockSet,
    size: usize,
}

/// The reason why there is no set to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// The model has more blocks than a set can hold.
    #[error(transparent)]
    Layers(#[from] BlockOutOfRange),
    /// A required block is protected, or beyond the last.
    #[error("block {0} is required to go, but it is protected or not a block of the model")]
    RequiredNotAllowed(usize),
    /// More blocks are required than are to be removed.
    #[error("{required} blocks are required to go, but only {size} are to be removed")]
    MoreRequired {
        /// Required blocks.
        required: usize,
        /// Blocks to remove.
        size: usize,
    },
    /// Too few blocks are allowed to be removed.
    #[error("{size} blocks are to be removed, but only {allowed} may be")]
    TooMany {
        /// Blocks to remove.
        size: usize,
        /// Blocks that are not protected.
        allowed: usize,
    },
}

impl Constraint {
    /// Sets of `size` of `layers` blocks that contain none of `protected` and all of `required`.
    ///
    /// \[R\] The protected blocks are [`BlockSet::ends`]. \[P\] Decode's search under the subset rule requires the
    /// blocks that prefill drops; prefill's search, and both under the relaxed rule, require none.
    pub fn new(
        layers: usize,
        protected: BlockSet,
        required: BlockSet,
        size: usize,
    ) -> Result<Constraint, ConstraintError> {
        let allowed = BlockSet::all(layers)?.difference(protected);
        if let Some(block) = required.difference(allowed).iter().next() {
            return Err(ConstraintError::RequiredNotAllowed(block));
        }
        if required.len() > size {
            return Err(ConstraintError::MoreRequired { required: required.len(), size });
        }
        if size > allowed.len() {
            return Err(ConstraintError::TooMany { size, allowed: allowed.len() });
        }
        Ok(Self { layers, allowed, required, size })
    }

    /// Number of blocks of the model.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of blocks to remove.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Blocks that every set contains.
    pub fn required(&self) -> BlockSet {
        self.required
    }

    /// Whether a set may be visited.
    pub fn admits(&self, set: BlockSet) -> bool {
        set.len() == self.size && self.required.is_subset(set) && set.is_subset(self.allowed)
    }

    /// Number of sets, an upper bound on what a search can measure; `u128::MAX` stands for all higher numbers.
    pub fn sets(&self) -> u128 {
        let (free, take) = (self.allowed.len() - self.required.len(), self.size - self.required.len());
        // C(m, k) = C(m, k-1) (m-k+1) / k, exact at every step.
        (1..=take).fold(1, |sets: u128, k| sets.saturating_mul((free - k + 1) as u128) / k as u128)
    }

    /// The required blocks and, of the others, those with the highest `similarity[l]`; ties go to the lower index, NaN
    /// comes last. Pruning-set blocks come first without a special case: their scores are those above the threshold.
    pub(super) fn start(&self, similarity: &[f64]) -> BlockSet {
        let mut free: Vec<usize> = self.allowed.difference(self.required).iter().collect();
        let key = |l: usize| if similarity[l].is_nan() { f64::NEG_INFINITY } else { similarity[l] };
        // The sort is stable, so equal scores stay in index order.
        free.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
        free.into_iter().take(self.size - self.required.len()).fold(self.required, BlockSet::with)
    }

    /// Members of `set` that a swap may remove.
    pub(super) fn members(&self, set: BlockSet) -> BlockSet {
        set.difference(self.required)
    }

    /// Blocks that a swap may add to `set`.
    pub(super) fn outsiders(&self, set: BlockSet) -> BlockSet {
        self.allowed.difference(set)
    }

    /// Every set that is one swap away from `set`, in a fixed order.
    pub(super) fn neighbours(&self, set: BlockSet) -> impl Iterator<Item = BlockSet> + use<> {
        let outsiders = self.outsiders(set);
        self.members(set).iter().flat_map(move |out| outsiders.iter().map(move |into| set.without(out).with(into)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(blocks: &[usize]) -> BlockSet {
        BlockSet::of(blocks.iter().copied()).unwrap()
    }

    fn constraint(required: &[usize], size: usize) -> Result<Constraint, ConstraintError> {
        Constraint::new(8, BlockSet::ends(8).unwrap(), set(required), size)
    }

    #[test]
    fn impossible_ones_are_refused() {
        assert_eq!(constraint(&[7], 2), Err(ConstraintError::RequiredNotAllowed(7)));
        assert_eq!(constraint(&[9], 2), Err(ConstraintError::RequiredNotAllowed(9)));
        assert_eq!(constraint(&[2, 3], 1), Err(ConstraintError::MoreRequired { required: 2, size: 1 }));
        assert_eq!(constraint(&[], 7), Err(ConstraintError::TooMany { size: 7, allowed: 6 }));
        let deep = Constraint::new(300, BlockSet::EMPTY, BlockSet::EMPTY, 1);
        assert!(matches!(deep, Err(ConstraintError::Layers(_))));
    }

    #[test]
    fn the_start_has_the_required_and_then_the_highest() {
        let similarity = [1.0, 0.3, 0.9, f64::NAN, 0.9, 0.2, 0.8, 1.0];
        assert_eq!(constraint(&[], 3).unwrap().start(&similarity), set(&[2, 4, 6]));
        assert_eq!(constraint(&[5], 2).unwrap().start(&similarity), set(&[2, 5]));
        assert_eq!(constraint(&[], 6).unwrap().start(&similarity), set(&[1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn neighbours_are_all_single_swaps() {
        let constraint = constraint(&[5], 3).unwrap();
        let neighbours: Vec<_> = constraint.neighbours(set(&[1, 2, 5])).collect();
        assert_eq!(neighbours.len(), 2 * 3);
        assert!(neighbours.iter().all(|&set| constraint.admits(set)));
        assert_eq!(constraint.sets(), 10);
    }

    #[test]
    fn counts_of_sets() {
        assert_eq!(constraint(&[], 0).unwrap().sets(), 1);
        let deep = Constraint::new(256, BlockSet::EMPTY, BlockSet::EMPTY, 128).unwrap();
        assert_eq!(deep.sets().min(u128::MAX / 1000), u128::MAX / 1000);
    }
}
