//! Element types of shipped KV.

use secateur_proto::v1;

/// How one KV value is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
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

    /// From a wire tag; unknown tags have no type.
    pub fn from_proto(tag: i32) -> Option<DType> {
        match v1::DType::try_from(tag).ok()? {
            v1::DType::Unspecified => None,
            v1::DType::F32 => Some(DType::F32),
            v1::DType::Bf16 => Some(DType::Bf16),
            v1::DType::F16 => Some(DType::F16),
        }
    }
}
