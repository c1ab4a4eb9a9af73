//! Calibration: what a set of blocks costs, measured on a model that is loaded whole.
//!
//! ```text
//! samples.rs     prompts with their answers, held with their KV and cut into batches
//! loss.rs        the loss of an answer when prompt and answer run given blocks; restarts at the first changed block
//! trial.rs       one pass of a batch with given roles
//! watch.rs       looking at what flows through a pass
//! redundancy.rs  how alike a block's input and output are
//! attention.rs   how much attention rests on first and last tokens
//! repair.rs      the linear map that stands in for a removed block
//! solve.rs       ridge least squares
//! ```
//!
//! A sample is a prompt and its answer, given, not generated (teacher forcing). The prompt's rows are what a prefill node
//! computes, the answer's rows what a decode node does; [`Roles`] of both say which blocks each leaves out.

mod attention;
mod loss;
mod redundancy;
mod repair;
mod samples;
mod solve;
mod trial;
mod watch;

pub use attention::Keeps;
pub use loss::{Calibrator, Repairs};
pub use repair::{LinearRepair, Prompts};
pub use samples::Sample;
pub use trial::{Phase, Roles};
