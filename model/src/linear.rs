//! An affine map, `y = x W^T + b`.

use candle_core::Tensor;

use crate::checkpoint::Weights;
use crate::error::Result;

/// Weights of an affine map.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// [out, in], as it is stored.
    weight: Tensor,
    /// [out]
    bias: Option<Tensor>,
}

impl Linear {
    /// Takes a weight [out, in] as it is.
    pub fn from_weight(weight: Tensor) -> Linear {
        Linear { weight, bias: None }
    }

    /// Loads `NAME.weight` and, if asked for, `NAME.bias`.
    pub fn load(weights: &Weights, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight = weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = bias.then(|| weights.tensor(&format!("{name}.bias"), &[outputs])).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// x: [rows, in] -> [rows, out]
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
