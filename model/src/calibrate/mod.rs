//! Calibration: what a set of blocks costs, measured on a model that is loaded whole.
//!
//! ```text
//! samples.rs     prompts with their answers, held with their KV and cut into batches
//! loss.rs        the loss of an answer when prompt and answer run given blocks; restarts at the first changed block
//! trial.rs       one pass of a batch with given roles
//! watch.rs       looking at what flows through a pass
//! redundancy.rs  how alike a block's input and output are
//! attention.rs   how much attention rests on first and last tokens
//! repairs.rs     what stands in for the removed blocks of a stage, fitted one after another
//! linear.rs      a linear map in the place of a block
//! solve.rs       ridge least squares
//! merge/         the neighbour with new weights that do the work of both
//! ```
//!
//! A sample is a prompt and its answer, given, not generated (teacher forcing). The prompt's rows are what a prefill node
//! computes, the answer's rows what a decode node does; [`Roles`] of both say which blocks each leaves out.

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
