//! The weights of one transformer block.

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::Result;
use secateur_kernels::Matrix;

/// A block of the checkpoint.
pub(crate) struct Block {
    pub before_attention: Vec<f32>, // [hidden]
    pub query: Matrix,              // hidden -> heads * head_dim
    pub key: Matrix,                // hidden -> kv_heads * head_dim
    pub value: Matrix,              // hidden -> kv_heads * head_dim
    /// Qwen3 only: norms of every query head and every key head, [head_dim], applied before rotary embedding.
    pub head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub output: Matrix,       // heads * head_dim -> hidden
    pub before_mlp: Vec<f32>, // [hidden]
    pub gate: Matrix,         // hidden -> intermediate
    pub up: Matrix,           // hidden -> intermediate
    pub down: Matrix,         // intermediate -> hidden
    /// Sliding window: how many last slots a row sees, itself included; `None` if it sees all.
    pub window: Option<usize>,
}

impl Block {
    /// Loads block `layer` of the checkpoint's plan from the tensors named `NAME.…`.
    pub fn load(weights: &Weights, name: &str, layer: usize, config: &LanguageConfig) -> Result<Block> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let (wide, narrow) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let vector = |part: &str, len: usize| weights.vector(&format!("{name}.{part}.weight"), len);
        let matrix = |part: &str, inputs: usize, outputs: usize, bias: bool| {
            weights.linear(&format!("{name}.{part}"), inputs, outputs, bias)
        };
        let head_norms = if config.qk_norm {
            Some((vector("self_attn.q_norm", config.head_dim)?, vector("self_attn.k_norm", config.head_dim)?))
        } else {
            None
        };
        Ok(Block {
            before_attention: vector("input_layernorm", hidden)?,
            query: matrix("self_attn.q_proj", hidden, wide, config.qkv_bias)?,
            key: matrix("self_attn.k_proj", hidden, narrow, config.qkv_bias)?,
            value: matrix("self_attn.v_proj", hidden, narrow, config.qkv_bias)?,
            head_norms,
            output: matrix("self_attn.o_proj", wide, hidden, config.output_bias)?,
            before_mlp: vector("post_attention_layernorm", hidden)?,
            gate: matrix("mlp.gate_proj", hidden, inner, config.mlp_bias)?,
            up: matrix("mlp.up_proj", hidden, inner, config.mlp_bias)?,
            down: matrix("mlp.down_proj", inner, hidden, config.mlp_bias)?,
            window: config.windows[layer],
        })
    }

    /// Bytes of the block's matrices.
    pub fn bytes(&self) -> usize {
        let parts = [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down];
        parts.into_iter().map(Matrix::bytes).sum()
    }
}
