//! Grouped-query attention: projections and rotary embedding around `attend`.

use candle_core::Tensor;

use crate::attend::{Visible, attend};
use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::llama::rope::Rope;

/// The attention half of a block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    query: Linear,  // hidden -> heads * head_dim
    key: Linear,    // hidden -> kv_heads * head_dim
    value: Linear,  // hidden -> kv_heads * head_dim
    output: Linear, // heads * head_dim -> hidden
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// Keys and values of some rows, both [rows, kv_heads, head_dim]; keys are already turned to their positions.
pub(crate) struct RowsKv {
    pub k: Tensor,
    pub v: Tensor,
}

impl Attention {
    pub fn load(weights: &Weights, name: &str, config: &LanguageConfig) -> Result<Attention> {
        let (hidden, wide) = (config.hidden, config.heads * config.head_dim);
        let narrow = config.kv_heads * config.head_dim;
        Ok(Attention {
            query: Linear::load(weights, &format!("{name}.q_proj"), hidden, wide, false)?,
            key: Linear::load(weights, &format!("{name}.k_proj"), hidden, narrow, false)?,
            value: Linear::load(weights, &format!("{name}.v_proj"), hidden, narrow, false)?,
            output: Linear::load(weights, &format!("{name}.o_proj"), wide, hidden, false)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// Keys and values of rows at positions `first`, `first + 1`, ...; x: [rows, hidden].
    pub fn keys_values(&self, x: &Tensor, rope: &Rope, first: usize) -> candle_core::Result<RowsKv> {
        let shape = (x.dim(0)?, self.kv_heads, self.head_dim);
        let k = rope.turn(&self.key.forward(x)?.reshape(shape)?, first)?;
        let v = self.value.forward(x)?.reshape(shape)?;
        Ok(RowsKv { k, v })
    }

    /// What rows at positions `first`, `first + 1`, ... take from keys and values [kv_heads, keys, head_dim], which
    /// include their own. x: [rows, hidden] -> [rows, hidden].
    pub fn mix(&self, x: &Tensor, k: &Tensor, v: &Tensor, rope: &Rope, first: usize) -> candle_core::Result<Tensor> {
        let shape = (x.dim(0)?, self.heads, self.head_dim);
        let q = rope.turn(&self.query.forward(x)?.reshape(shape)?, first)?;
        self.output.forward(&attend(&q, k, v, Visible::UpTo { first })?)
    }
}
