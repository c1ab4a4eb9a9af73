//! The number formats that weights, activations and KV can have.

use std::fmt;

use secateur_kernels::Format;

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

    pub(crate) fn kernel(self) -> Format {
        match self {
            FloatType::F32 => Format::F32,
            FloatType::Bf16 => Format::Bf16,
            FloatType::F16 => Format::F16,
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The format in which the language model's matrices are kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// Numbers in the compute format.
    #[default]
    Native,
    /// 8-bit integers with one scale per output channel: half the memory and time of bf16, at a small loss of
    /// precision.
    Int8,
}

impl WeightFormat {
    /// The name in settings: `native` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            WeightFormat::Native => "native",
            WeightFormat::Int8 => "int8",
        }
    }

    /// The format with that name.
    pub fn from_name(name: &str) -> Option<WeightFormat> {
        [WeightFormat::Native, WeightFormat::Int8].into_iter().find(|format| format.name() == name)
    }
}
