//! A queue's bound: who comes takes a place or is refused, and whoever stops waiting gives it up.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// So many places and no more.
#[derive(Clone, Debug)]
pub struct Places {
    taken: Arc<AtomicU32>,
    limit: u32,
}

/// A place among those that wait; given up on drop, also when the waiting future is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

impl Places {
    /// `limit` places, all free.
    pub fn new(limit: u32) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// A place; `None` if all are taken.
    pub fn take(&self) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        // Counted first and given back if it was one too many, so that no two ever take the last one.
        let place = Place(self.taken.clone());
        (before < self.limit).then_some(place)
    }

    /// Places that are taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Places there are.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_dropping_one_frees_it() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        assert_eq!((places.taken(), places.limit()), (2, 2));
        drop(first);
        assert!(places.take().is_some());
        assert_eq!(places.taken(), 1);
    }
}
