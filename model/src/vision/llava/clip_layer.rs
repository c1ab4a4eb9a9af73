//! One layer of the CLIP vision tower.

use std::ops::Range;

use candle_core::Tensor;

use crate::checkpoint::{ClipConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::vision::Activation;
use crate::vision::attend::attend;
use crate::vision::llava::layer_norm::LayerNorm;

/// Attention and MLP, each after a norm and inside a residual connection.
#[derive(Clone, Debug)]
pub(crate) struct ClipLayer {
    before_attention: LayerNorm,
    query: Linear,  // hidden -> hidden
    key: Linear,    // hidden -> hidden
    value: Linear,  // hidden -> hidden
    output: Linear, // hidden -> hidden
    before_mlp: LayerNorm,
    widen: Linear, // hidden -> intermediate
    activation: Activation,
    narrow: Linear, // intermediate -> hidden
    heads: usize,
}

impl ClipLayer {
    pub fn load(weights: &Weights, layer: usize, config: &ClipConfig) -> Result<ClipLayer> {
        let name = format!("vision.encoder.layers.{layer}");
        let (hidden, inner) = (config.hidden, config.intermediate);
        let linear = |part: &str, from, to| Linear::load(weights, &format!("{name}.{part}"), from, to, true);
        let norm = |part: &str| LayerNorm::load(weights, &format!("{name}.{part}"), hidden, config.norm_epsilon);
        Ok(ClipLayer {
            before_attention: norm("layer_norm1")?,
            query: linear("self_attn.q_proj", hidden, hidden)?,
            key: linear("self_attn.k_proj", hidden, hidden)?,
            value: linear("self_attn.v_proj", hidden, hidden)?,
            output: linear("self_attn.out_proj", hidden, hidden)?,
            before_mlp: norm("layer_norm2")?,
            widen: linear("mlp.fc1", hidden, inner)?,
            activation: config.activation,
            narrow: linear("mlp.fc2", inner, hidden)?,
            heads: config.heads,
        })
    }

    /// Runs the layer. x: [rows, hidden], each tile's rows one of `tiles` -> [rows, hidden].
    pub fn forward(&self, x: &Tensor, tiles: &[Range<usize>]) -> candle_core::Result<Tensor> {
        let x = (x + self.attention(&self.before_attention.forward(x)?, tiles)?)?;
        let wide = self.widen.forward(&self.before_mlp.forward(&x)?)?; // [rows, intermediate]
        let changed = self.narrow.forward(&self.activation.apply(&wide)?)?;
        x + changed
    }

    fn attention(&self, x: &Tensor, tiles: &[Range<usize>]) -> candle_core::Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        // [heads, rows, head_dim]
        let by_head = |part: &Linear| {
            part.forward(x)?.reshape((rows, self.heads, hidden / self.heads))?.transpose(0, 1)?.contiguous()
        };
        let mixed = attend(&by_head(&self.query)?, &by_head(&self.key)?, &by_head(&self.value)?, tiles)?;
        self.output.forward(&mixed)
    }
}
