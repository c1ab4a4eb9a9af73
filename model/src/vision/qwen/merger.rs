//! Merges the patches of a visual token into that token, at the language model's width.

use candle_core::Tensor;

use crate::checkpoint::{QwenConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::vision::Activation;
use crate::vision::qwen::rms_norm::RmsNorm;

/// A norm of each patch, then two affine maps over the concatenated patches of a token.
#[derive(Clone, Debug)]
pub(crate) struct Merger {
    norm: RmsNorm,
    first: Linear,  // merge * merge * hidden -> the same
    second: Linear, // merge * merge * hidden -> out
    inputs: usize,
}

impl Merger {
    pub fn load(weights: &Weights, config: &QwenConfig) -> Result<Merger> {
        let inputs = config.merge_size * config.merge_size * config.hidden;
        Ok(Merger {
            norm: RmsNorm::load(weights, "vision.merger.ln_q", config.hidden)?,
            first: Linear::load(weights, "vision.merger.mlp.0", inputs, inputs, true)?,
            second: Linear::load(weights, "vision.merger.mlp.2", inputs, config.out, true)?,
            inputs,
        })
    }

    /// Merges x: [patches, hidden], with the patches of a token next to each other -> [tokens, out].
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let merged = self.norm.forward(x)?.reshape(((), self.inputs))?;
        self.second.forward(&Activation::Gelu.apply(&self.first.forward(&merged)?)?)
    }
}
