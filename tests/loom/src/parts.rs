//! The parts: files of other crates.

#[path = "../../../node/src/bell.rs"]
#[allow(dead_code, reason = "models need not all of it")]
pub mod bell;
#[path = "../../../decode-node/src/space/queue.rs"]
#[allow(dead_code, reason = "models need not all of it")]
pub mod queue;
#[path = "../../../kernels/src/threads.rs"]
#[allow(dead_code, reason = "models need not all of it")]
pub mod threads;
