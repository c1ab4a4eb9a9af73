//! Labels that are shown, so that those of nodes that have left can be taken off again. Without this a node that is gone
//! would stay on every page at its last value.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The labels of one family.
#[derive(Debug)]
pub struct Known<L>(Mutex<HashSet<L>>);

impl<L> Default for Known<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Clone + Eq + Hash> Known<L> {
    /// `labels` are shown from now on.
    pub fn add(&self, labels: &L) {
        let mut known = self.lock();
        if !known.contains(labels) {
            known.insert(labels.clone());
        }
    }

    /// All that are shown.
    pub fn all(&self) -> Vec<L> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets those that are not `there` any more, and returns them.
    pub fn left(&self, there: impl Fn(&L) -> bool) -> Vec<L> {
        self.lock().extract_if(|labels| !there(labels)).collect()
    }

    /// A set is whole whatever happened to another holder.
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
