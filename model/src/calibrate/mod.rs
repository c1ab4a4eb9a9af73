//! Calibration: the loss that removing a set of blocks causes, measured on a model that is loaded whole.
//!
//! ```text
//! samples.rs     prompts with their answers, held with their KV and cut into batches
//! loss.rs        the loss of an answer when prompt and answer run given blocks; restarts at the first changed block
//! phase.rs       phases of a pass, and the role of each block in it
//! trial.rs       one pass of a batch with given roles and repairs
//! watch.rs       observing residual streams, queries, keys and values during a pass
//! redundancy.rs  similarity of a block's input and output
//! attention.rs   share of attention that falls on first and last tokens
//! repairs.rs     replacements for the removed blocks of a stage, and how a pass applies them
//! streams.rs     residual streams of the unpruned model, and of a pruned one with its repairs so far
//! fit.rs         fits of a stage's repairs, one after another
//! linear.rs      fit of a linear map in the place of a block
//! solve.rs       ridge least squares
//! merge/         new weights for the block before a removed one, trained to do the work of both
//! ```
//!
//! A sample is a given prompt and a given, not generated, answer (teacher forcing). The prompt's rows are what a
//! prefill node computes, the answer's rows what a decode node computes; the [`Roles`] of each phase say which blocks
//! it leaves out.

mod attention;
mod fit;
mod linear;
mod loss;
mod merge;
mod phase;
mod redundancy;
mod repairs;
mod samples;
mod solve;
mod streams;
mod trial;
mod watch;

pub use crate::language::BlockTensor;
pub use attention::Keeps;
pub use loss::{Calibrator, Loss};
pub use merge::{Distillation, mergeable};
pub use phase::{Phase, Roles};
pub use repairs::{BlockRepair, LinearRepair, MergedRepair, Prompts, Repairs};
pub use samples::Sample;
