//! Label sets in use, so that those of nodes that left can be removed. Without this a node that left would stay on the
//! metrics page with its last value.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The label sets in use of one metric family.
#[derive(Debug)]
pub struct Known<L>(Mutex<HashSet<L>>);

impl<L> Default for Known<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Clone + Eq + Hash> Known<L> {
    /// Records that `labels` are in use.
    pub fn add(&self, labels: &L) {
        let mut known = self.lock();
        if !known.contains(labels) {
            known.insert(labels.clone());
        }
    }

    /// All label sets in use.
    pub fn all(&self) -> Vec<L> {
        self.lock().iter().cloned().collect()
    }

    /// Removes and returns the label sets for which `there` is false.
    pub fn left(&self, there: impl Fn(&L) -> bool) -> Vec<L> {
        self.lock().extract_if(|labels| !there(labels)).collect()
    }

    /// Locks the set even if another holder panicked: each update leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashSet<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_named_once() {
        let known = Known::default();
        for label in ["a", "b", "b"] {
            known.add(&label);
        }
        assert_eq!(known.left(|label| *label == "b"), ["a"]);
        assert!(known.left(|label| *label == "b").is_empty());
        assert_eq!(known.all(), ["b"]);
    }
}
