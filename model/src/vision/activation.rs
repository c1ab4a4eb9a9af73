//! Activation functions, by the names Hugging Face gives them.

use candle_core::Tensor;

use crate::error::{ModelError, Result};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// x * Phi(x), with the exact error function.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// x * sigmoid(1.702 x), of OpenAI's CLIP.
    QuickGelu,
    /// x * sigmoid(x).
    Silu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// The function with that name; `field` is where the name was found.
    pub fn from_name(name: &str, field: &str) -> Result<Activation> {
        match name {
            "gelu" => Ok(Activation::Gelu),
            "gelu_pytorch_tanh" | "gelu_new" => Ok(Activation::GeluTanh),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "silu" | "swish" => Ok(Activation::Silu),
            "relu" => Ok(Activation::Relu),
            other => Err(ModelError::config(field, format!("activation `{other}` is not supported"))),
        }
    }

    /// Applies the function element by element; any shape.
    pub fn apply(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn values_of_torch() {
        let x = Tensor::new(&[-1.0f32, 0.5, 2.0], &Device::Cpu).unwrap();
        // torch.nn.functional.gelu(x), gelu(x, approximate="tanh"), x * sigmoid(1.702 * x), silu(x), relu(x)
        let cases = [
            (Activation::Gelu, [-0.158_655, 0.345_731, 1.954_5]),
            (Activation::GeluTanh, [-0.158_808, 0.345_714, 1.954_598]),
            (Activation::QuickGelu, [-0.154_203, 0.350_388, 1.935_659]),
            (Activation::Silu, [-0.268_941, 0.311_23, 1.761_594]),
            (Activation::Relu, [0.0, 0.5, 2.0]),
        ];
        for (activation, expected) in cases {
            let found = activation.apply(&x).unwrap().to_vec1::<f32>().unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 2e-5, "{activation:?}: {found} {expected}");
            }
        }
    }
}
