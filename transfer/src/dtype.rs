//! Element types of shipped KV.

use secateur_proto::v1;

/// Format in which one KV value is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// The bfloat16 format.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl DType {
    /// Bytes of one value.
    pub fn size_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 | DType::F16 => 2,
        }
    }

    /// The wire tag.
    pub fn to_proto(self) -> v1::DType {
        match self {
            DType::F32 => v1::DType::F32,
            DType::Bf16 => v1::DType::Bf16,
            DType::F16 => v1::DType::F16,
        }
    }

    /// The type of a wire tag; `None` if the tag is unknown.
    pub fn from_proto(tag: i32) -> Option<DType> {
        match v1::DType::try_from(tag).ok()? {
            v1::DType::Unspecified => None,
            v1::DType::F32 => Some(DType::F32),
            v1::DType::Bf16 => Some(DType::Bf16),
            v1::DType::F16 => Some(DType::F16),
        }
    }
}
