//! A queue's bound: a caller takes a permit or is refused, and a caller that stops waiting gives its permit back.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A fixed number of permits to wait in a queue. Clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    limit: u32,
}

/// One caller's permit to wait in the queue; released on drop, so also when the waiting future is dropped.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Permits {
    /// Creates `limit` permits, all free.
    pub fn new(limit: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(limit as usize)), limit }
    }

    /// Takes a permit; `None` if all are taken.
    pub fn take(&self) -> Option<Permit> {
        self.free.clone().try_acquire_owned().ok().map(Permit)
    }

    /// Number of permits that are taken.
    pub fn taken(&self) -> u32 {
        self.limit.saturating_sub(u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX))
    }

    /// Number of permits, taken or free.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn there_are_so_many_permits_and_dropping_one_frees_it() {
        let permits = Permits::new(2);
        let (first, _second) = (permits.take().unwrap(), permits.take().unwrap());
        assert!(permits.take().is_none());
        assert_eq!((permits.taken(), permits.limit()), (2, 2));
        drop(first);
        assert!(permits.take().is_some());
        assert_eq!(permits.taken(), 1);
    }

    /// A refused caller must not hold, even for a moment, a permit that another caller could take.
    #[test]
    fn a_refusal_counts_for_nothing() {
        let (permits, is_over) = (Permits::new(2), AtomicBool::new(false));
        let _all = (permits.take().unwrap(), permits.take().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(permits.take().is_none());
                }
            });
            let most = (0..2_000_000).map(|_| permits.taken()).max();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(most, Some(2));
        });
    }
}
