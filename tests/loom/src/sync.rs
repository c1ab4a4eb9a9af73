//! loom's types under the names that each part has in its own `crate::sync`.

pub use loom::cell::UnsafeCell;
pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub use loom::thread;

/// A worker that parks as soon as it finds nothing to do. Time does not pass in a model.
pub struct Spinning;

impl Spinning {
    pub fn begin() -> Self {
        Self
    }

    pub fn goes_on(&self) -> bool {
        false
    }
}
