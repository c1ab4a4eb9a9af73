//! RMSNorm.

use candle_core::Tensor;

use crate::checkpoint::Weights;
use crate::error::Result;

/// Scales each row to unit root mean square, then each column by its weight.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    /// [hidden]
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    pub fn load(weights: &Weights, name: &str, hidden: usize, epsilon: f32) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: weights.tensor(&format!("{name}.weight"), &[hidden])?, epsilon })
    }

    /// x: [rows, hidden] -> [rows, hidden]
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, self.epsilon)
    }
}
