//! SwiGLU.

use candle_core::Tensor;

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::Result;
use crate::linear::Linear;

/// The feed-forward half of a block: `down(silu(gate x) * up x)`.
#[derive(Clone, Debug)]
pub(crate) struct Mlp {
    gate: Linear, // hidden -> intermediate
    up: Linear,   // hidden -> intermediate
    down: Linear, // intermediate -> hidden
}

impl Mlp {
    pub fn load(weights: &Weights, name: &str, config: &LanguageConfig) -> Result<Mlp> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        Ok(Mlp {
            gate: Linear::load(weights, &format!("{name}.gate_proj"), hidden, inner, false)?,
            up: Linear::load(weights, &format!("{name}.up_proj"), hidden, inner, false)?,
            down: Linear::load(weights, &format!("{name}.down_proj"), inner, hidden, false)?,
        })
    }

    /// x: [rows, hidden] -> [rows, hidden]
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let gated = (self.gate.forward(x)?.silu()? * self.up.forward(x)?)?; // [rows, intermediate]
        self.down.forward(&gated)
    }
}
