//! The language model: RMSNorm, rotary embedding, grouped-query attention over paged KV, gated MLP.
//!
//! ```text
//! stack.rs       one forward pass over a batch: rows of many sequences at once
//! block.rs       the weights of one transformer block
//! parts.rs       a block's weights as named f32 tensors, and back
//! hooks.rs      hooks into a pass, for serving and calibration
//! feed.rs        the input of one sequence to a pass, and the rows of a prompt
//! batch.rs       feeds concatenated into a pass: rows, runs, the rows whose logits are wanted
//! rope.rs        cosines and sines of rows at their positions
//! workspace.rs   the buffers of a pass, kept between passes
//! ```
//!
//! Activations are f32 and row-major throughout. Names of dimensions: `rows` are the tokens computed in this pass,
//! `hidden` is the residual width, `heads` and `kv_heads` have `head_dim` each. Every kernel gives a row the same bits
//! whatever else is in the batch, so chunks, batches and recomputation do not change an answer.

mod batch;
mod block;
mod feed;
mod hooks;
mod parts;
mod rope;
mod stack;
mod workspace;

pub(crate) use block::Block;
pub use feed::{Feed, Input, Prompt, PromptRow, Segment, Wanted};
pub(crate) use hooks::{PassHooks, WithBeside};
pub use parts::BlockTensor;
pub(crate) use stack::Language;
pub use workspace::Workspace;
