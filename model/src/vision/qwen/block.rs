//! One block of Qwen2.5-VL's vision tower.

use std::ops::Range;

use candle_core::Tensor;
use candle_nn::rotary_emb::rope;

use crate::checkpoint::{QwenConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::vision::Activation;
use crate::vision::attend::attend;
use crate::vision::qwen::rms_norm::RmsNorm;

/// Attention and a gated MLP, each after a norm and inside a residual connection.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    before_attention: RmsNorm,
    query_key_value: Linear, // hidden -> 3 * hidden
    output: Linear,          // hidden -> hidden
    before_mlp: RmsNorm,
    gate: Linear, // hidden -> intermediate
    up: Linear,   // hidden -> intermediate
    activation: Activation,
    down: Linear, // intermediate -> hidden
    heads: usize,
}

/// Rotary cosines and sines of each row of queries and keys, each [rows, head_dim / 2].
pub(crate) struct Rotation {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Block {
    pub fn load(weights: &Weights, block: usize, config: &QwenConfig) -> Result<Block> {
        let name = format!("vision.blocks.{block}");
        let (hidden, inner) = (config.hidden, config.intermediate);
        let linear = |part: &str, from, to| Linear::load(weights, &format!("{name}.{part}"), from, to, true);
        let norm = |part: &str| RmsNorm::load(weights, &format!("{name}.{part}"), hidden);
        Ok(Block {
            before_attention: norm("norm1")?,
            query_key_value: linear("attn.qkv", hidden, 3 * hidden)?,
            output: linear("attn.proj", hidden, hidden)?,
            before_mlp: norm("norm2")?,
            gate: linear("mlp.gate_proj", hidden, inner)?,
            up: linear("mlp.up_proj", hidden, inner)?,
            activation: config.activation,
            down: linear("mlp.down_proj", inner, hidden)?,
            heads: config.heads,
        })
    }

    /// Runs the block. x: [rows, hidden]; a row attends to the rows of its segment -> [rows, hidden].
    pub fn forward(&self, x: &Tensor, rotation: &Rotation, segments: &[Range<usize>]) -> candle_core::Result<Tensor> {
        let x = (x + self.attention(&self.before_attention.forward(x)?, rotation, segments)?)?;
        let normed = self.before_mlp.forward(&x)?;
        let gate = self.activation.apply(&self.gate.forward(&normed)?)?; // [rows, intermediate]
        let changed = self.down.forward(&(gate * self.up.forward(&normed)?)?)?;
        x + changed
    }

    fn attention(&self, x: &Tensor, rotation: &Rotation, segments: &[Range<usize>]) -> candle_core::Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        let split = self.query_key_value.forward(x)?.reshape((rows, 3, self.heads, hidden / self.heads))?;
        let parts = split.permute((1, 2, 0, 3))?.contiguous()?; // [3, heads, rows, head_dim]
        let turned = |part: usize| rope(&parts.narrow(0, part, 1)?, &rotation.cos, &rotation.sin)?.squeeze(0);
        self.output.forward(&attend(&turned(0)?, &turned(1)?, &parts.get(2)?, segments)?)
    }
}
