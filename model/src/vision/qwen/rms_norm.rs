//! Root mean square normalisation.

use candle_core::Tensor;

use crate::checkpoint::Weights;
use crate::error::Result;

/// Epsilon of the norm; a constant in the reference too.
const EPSILON: f32 = 1e-6;

/// Scales each row to unit mean square, then each column by its weight.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    /// Weight of each column, [hidden].
    weight: Tensor,
}

impl RmsNorm {
    pub fn load(weights: &Weights, name: &str, hidden: usize) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: weights.tensor(&format!("{name}.weight"), &[hidden])? })
    }

    /// Normalises x: [rows, hidden] -> [rows, hidden].
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::rms_norm(&x.contiguous()?, &self.weight, EPSILON)
    }
}
