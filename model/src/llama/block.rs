//! One transformer block.

use candle_core::Tensor;

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::Result;
use crate::llama::attention::{Attention, RowsKv};
use crate::llama::mlp::Mlp;
use crate::llama::norm::RmsNorm;
use crate::llama::rope::Rope;

/// A block of the checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Its index in the checkpoint, whichever other blocks are loaded.
    pub layer: usize,
    before_attention: RmsNorm,
    attention: Attention,
    before_mlp: RmsNorm,
    mlp: Mlp,
}

impl Block {
    pub fn load(weights: &Weights, layer: usize, config: &LanguageConfig) -> Result<Block> {
        let name = format!("language.layers.{layer}");
        let norm = |part: &str| RmsNorm::load(weights, &format!("{name}.{part}"), config.hidden, config.norm_epsilon);
        Ok(Block {
            layer,
            before_attention: norm("input_layernorm")?,
            attention: Attention::load(weights, &format!("{name}.self_attn"), config)?,
            before_mlp: norm("post_attention_layernorm")?,
            mlp: Mlp::load(weights, &format!("{name}.mlp"), config)?,
        })
    }

    /// The normalised input of the attention half; x: [rows, hidden].
    pub fn normed(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.before_attention.forward(x)
    }

    /// Keys and values of normalised rows that start at position `first`.
    pub fn keys_values(&self, normed: &Tensor, rope: &Rope, first: usize) -> candle_core::Result<RowsKv> {
        self.attention.keys_values(normed, rope, first)
    }

    /// The block's output for rows that start at position `first`, with k, v [kv_heads, keys, head_dim] that reach
    /// at least to the last row. x and normed: [rows, hidden] -> [rows, hidden].
    pub fn forward(
        &self,
        x: &Tensor,
        normed: &Tensor,
        (k, v): (&Tensor, &Tensor),
        rope: &Rope,
        first: usize,
    ) -> candle_core::Result<Tensor> {
        let x = (x + self.attention.mix(normed, k, v, rope, first)?)?;
        let changed = self.mlp.forward(&self.before_mlp.forward(&x)?)?;
        x + changed
    }
}
