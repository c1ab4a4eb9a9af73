//! Synchronization that [`crate::bell`] is built from: `tests/loom` compiles the bell against other types of the same
//! names, with which it tries every order of the threads' steps.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
