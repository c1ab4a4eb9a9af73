//! Synchronization that the team of threads is built from, in one place: `tests/loom` compiles the team against other
//! types of the same names, with which it tries every order of the threads' steps.

use std::time::{Duration, Instant};

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Arc, Mutex};
pub(crate) use std::thread;

/// How long a worker spins for the next region before it parks.
const SPIN: Duration = Duration::from_micros(40);

/// A value that several threads access, in an order that something else guarantees.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `read` with the value's address, through which it is not written.
    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Calls `write` with the value's address.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// The time that a worker has been spinning.
pub(crate) struct Spinning(Instant);

impl Spinning {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits for a moment; false if the worker has been spinning for long enough.
    #[inline(always)]
    pub(crate) fn goes_on(&self) -> bool {
        for _ in 0..8 {
            spin_loop();
        }
        self.0.elapsed() < SPIN
    }
}
