//! The formats that tensors are stored in.

use std::fmt;

/// Format of a tensor's numbers. Types other than the first three store blocks of numbers with common scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum TensorType {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl TensorType {
    /// Every supported type, in the order of their numbers in files.
    pub const ALL: [TensorType; 13] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q8_0,
        TensorType::Q2K,
        TensorType::Q3K,
        TensorType::Q4K,
        TensorType::Q5K,
        TensorType::Q6K,
        TensorType::Bf16,
    ];

    /// The type with this number in files, if it is supported.
    pub(crate) fn from_number(number: u32) -> Option<TensorType> {
        TensorType::ALL.into_iter().find(|kind| kind.layout().number == number)
    }

    /// The format's own name, for example `Q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().name
    }

    /// Count of numbers in a block; 1 for plain numbers.
    pub fn block_numbers(self) -> usize {
        self.layout().numbers
    }

    /// Size of a block in bytes.
    pub fn block_bytes(self) -> usize {
        self.layout().bytes
    }

    fn layout(self) -> Layout {
        let layout = |number, name, numbers, bytes| Layout { number, name, numbers, bytes };
        match self {
            TensorType::F32 => layout(0, "F32", 1, 4),
            TensorType::F16 => layout(1, "F16", 1, 2),
            TensorType::Q4_0 => layout(2, "Q4_0", 32, 18),
            TensorType::Q4_1 => layout(3, "Q4_1", 32, 20),
            TensorType::Q5_0 => layout(6, "Q5_0", 32, 22),
            TensorType::Q5_1 => layout(7, "Q5_1", 32, 24),
            TensorType::Q8_0 => layout(8, "Q8_0", 32, 34),
            TensorType::Q2K => layout(10, "Q2_K", 256, 84),
            TensorType::Q3K => layout(11, "Q3_K", 256, 110),
            TensorType::Q4K => layout(12, "Q4_K", 256, 144),
            TensorType::Q5K => layout(13, "Q5_K", 256, 176),
            TensorType::Q6K => layout(14, "Q6_K", 256, 210),
            TensorType::Bf16 => layout(30, "BF16", 1, 2),
        }
    }
}

struct Layout {
    number: u32,
    name: &'static str,
    numbers: usize,
    bytes: usize,
}

impl fmt::Display for TensorType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Name of an unsupported type, so that a refusal says more than a number.
pub(crate) fn foreign_name(number: u32) -> &'static str {
    match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => "an unknown type",
    }
}
