//! Layer normalisation.

use candle_core::Tensor;

use crate::checkpoint::Weights;
use crate::error::Result;

/// Scales each row to zero mean and unit variance, then each column by its weight and bias.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    /// Weight of each column, [hidden].
    weight: Tensor,
    /// Bias of each column, [hidden].
    bias: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    pub fn load(weights: &Weights, name: &str, hidden: usize, epsilon: f64) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: weights.tensor(&format!("{name}.weight"), &[hidden])?,
            bias: weights.tensor(&format!("{name}.bias"), &[hidden])?,
            epsilon: epsilon as f32,
        })
    }

    /// Normalises x: [rows, hidden] -> [rows, hidden].
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, self.epsilon)
    }
}
