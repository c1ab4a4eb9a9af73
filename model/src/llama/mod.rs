//! The Llama family: RMSNorm, rotary embedding, grouped-query attention, SwiGLU.
//!
//! Dimension names used in this module: `rows` tokens that are computed now, `hidden` the residual width, `heads`
//! and `kv_heads` of `head_dim` each.

mod attention;
mod block;
mod mlp;
mod norm;
mod rope;
mod stack;

pub(crate) use stack::Llama;
