//! The language model: RMSNorm, rotary embedding, grouped-query attention over paged KV, gated MLP.
//!
//! ```text
//! stack.rs       one forward pass over a batch: rows of many sequences at once
//! block.rs       the weights of one transformer block
//! parts.rs       a block's numbers, out of it and back into one
//! course.rs      what a pass does beside the ordinary, for calibration
//! feed.rs        what a sequence brings to a pass, and the rows of a prompt
//! batch.rs       feeds laid side by side: rows, runs, the rows whose logits are wanted
//! rope.rs        cosines and sines of rows at their positions
//! workspace.rs   the buffers of a pass, kept between passes
//! ```
//!
//! Activations are f32 and row-major throughout. Names of dimensions: `rows` tokens that are computed now, `hidden` the
//! residual width, `heads` and `kv_heads` of `head_dim` each. Every kernel gives a row the same bits whatever else is in
//! the batch, so chunks, batches and recomputation do not change an answer.

mod batch;
mod block;
mod course;
mod feed;
mod parts;
mod rope;
mod stack;
mod workspace;

pub(crate) use block::Block;
pub(crate) use course::Course;
pub use feed::{Feed, Input, Prompt, PromptRow, Segment, Wanted};
pub use parts::BlockTensor;
pub(crate) use stack::Language;
pub use workspace::Workspace;
