//! The number formats that weights, activations and KV can have.

use std::fmt;

use candle_core::DType;

/// A floating point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE single precision: the reference, and the default on a CPU.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl FloatType {
    /// Bytes of one value.
    pub fn size_bytes(self) -> usize {
        match self {
            FloatType::F32 => 4,
            FloatType::Bf16 | FloatType::F16 => 2,
        }
    }

    /// The short name used in manifests and logs: `f32`, `bf16`, `f16`.
    pub fn name(self) -> &'static str {
        match self {
            FloatType::F32 => "f32",
            FloatType::Bf16 => "bf16",
            FloatType::F16 => "f16",
        }
    }

    /// The format of that short name, or of the name Hugging Face gives it in `config.json`.
    pub fn from_name(name: &str) -> Option<FloatType> {
        match name {
            "f32" | "float32" => Some(FloatType::F32),
            "bf16" | "bfloat16" => Some(FloatType::Bf16),
            "f16" | "float16" => Some(FloatType::F16),
            _ => None,
        }
    }

    pub(crate) fn candle(self) -> DType {
        match self {
            FloatType::F32 => DType::F32,
            FloatType::Bf16 => DType::BF16,
            FloatType::F16 => DType::F16,
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
