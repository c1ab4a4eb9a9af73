//! LLaVA's projector: maps the tower's width to the language model's.

use candle_core::Tensor;

use crate::checkpoint::{ClipConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;
use crate::vision::Activation;

/// Two affine maps with an activation between them.
#[derive(Clone, Debug)]
pub(crate) struct Projector {
    first: Linear, // vision hidden -> language hidden
    activation: Activation,
    second: Linear, // language hidden -> language hidden
}

impl Projector {
    pub fn load(weights: &Weights, vision: &ClipConfig, hidden: usize) -> Result<Projector> {
        let bias = vision.projector_bias;
        Ok(Projector {
            first: Linear::load(weights, "projector.linear_1", vision.hidden, hidden, bias)?,
            activation: vision.projector_activation,
            second: Linear::load(weights, "projector.linear_2", hidden, hidden, bias)?,
        })
    }

    /// Projects x: [visual tokens, vision hidden] -> [visual tokens, language hidden].
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.second.forward(&self.activation.apply(&self.first.forward(x)?)?)
    }
}
