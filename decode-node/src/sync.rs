//! Synchronization that the queue for blocks is built from: `tests/loom` compiles the queue against other types of the
//! same names, with which it tries every order of the threads' steps.

pub use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
