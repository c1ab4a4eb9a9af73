//! A wake-up call for the one thread that computes.

use std::sync::Arc;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// A bell that one thread waits on and any number of threads ring. Clones are the same bell.
///
/// No ring is lost: if the bell was rung while nobody waited, the next wait returns at once. Rings between two waits
/// count as one, so the waiter must check everything that may have changed.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    was_rung: Mutex<bool>,
    changed: Condvar,
}

/// A value that rings a bell when it is dropped.
#[derive(Debug)]
pub struct RingOnDrop(Bell);

impl Bell {
    /// Wakes the waiting thread, or ends its next wait at once.
    pub fn ring(&self) {
        *self.locked() = true;
        self.0.changed.notify_one();
    }

    /// Blocks until the bell has been rung since the previous wait.
    pub fn wait(&self) {
        let mut was_rung = self.locked();
        while !*was_rung {
            was_rung = self.0.changed.wait(was_rung).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *was_rung = false;
    }

    /// Returns a value that rings this bell when it is dropped.
    pub fn on_drop(&self) -> RingOnDrop {
        RingOnDrop(self.clone())
    }

    fn locked(&self) -> MutexGuard<'_, bool> {
        self.0.was_rung.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for RingOnDrop {
    fn drop(&mut self) {
        self.0.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        bell.wait();
        drop(bell.on_drop());
        bell.wait();
    }

    #[test]
    fn every_change_is_seen_whenever_it_comes() {
        const CHANGES: u32 = 20_000;
        let (bell, made) = (Bell::default(), Arc::new(AtomicU32::new(0)));
        let changes = thread::spawn({
            let (bell, made) = (bell.clone(), made.clone());
            move || {
                for _ in 0..CHANGES {
                    made.fetch_add(1, Ordering::Relaxed);
                    bell.ring();
                }
            }
        });
        // This loop ends only if the last ring is not lost.
        while made.load(Ordering::Relaxed) < CHANGES {
            bell.wait();
        }
        changes.join().unwrap();
    }
}
