//! Calibration: the loss that removing a set of blocks causes, measured on a model that is loaded whole.
//!
//! ```text
//! samples.rs     prompts with their answers, held with their KV and cut into batches
//! loss.rs        the loss of an answer when prompt and answer run given blocks; restarts at the first changed block
//! trial.rs       one pass of a batch with given roles
//! watch.rs       observing residual streams, queries, keys and values during a pass
//! redundancy.rs  similarity of a block's input and output
//! attention.rs   share of attention that falls on first and last tokens
//! repairs.rs     replacements for the removed blocks of a stage, fitted one after another
//! linear.rs      a linear map in the place of a block
//! solve.rs       ridge least squares
//! merge/         new weights for the block before a removed one, trained to do the work of both
//! ```
//!
//! A sample is a given prompt and a given, not generated, answer (teacher forcing). The prompt's rows are what a
//! prefill node computes, the answer's rows what a decode node computes; the [`Roles`] of each phase say which blocks
//! it leaves out.

mod attention;
mod linear;
mod loss;
mod merge;
mod redundancy;
mod repairs;
mod samples;
mod solve;
mod trial;
mod watch;

pub use crate::language::BlockTensor;
pub use attention::Keeps;
pub use linear::LinearRepair;
pub use loss::{Calibrator, Loss};
pub use merge::{Distillation, MergedRepair, mergeable};
pub use repairs::{BlockRepair, Prompts, Repairs};
pub use samples::Sample;
pub use trial::{Phase, Roles};
