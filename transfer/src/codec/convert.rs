//! Conversion of values of a dtype to f32 and back. A value that is too large for a narrower type becomes its largest
//! finite value: no checkpoint has KV of that size, and infinity would spread through attention.

use half::{bf16, f16};

use crate::dtype::DType;

/// Appends the values in `bytes` as f32. Trailing bytes that do not fill a value are ignored.
pub fn to_f32(dtype: DType, bytes: &[u8], into: &mut Vec<f32>) {
    match dtype {
        DType::F32 => into.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        DType::F16 => into.extend(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())),
        DType::Bf16 => into.extend(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())),
    }
}

/// Appends `values` as bytes of `dtype`.
pub fn from_f32(dtype: DType, values: &[f32], into: &mut Vec<u8>) {
    match dtype {
        DType::F32 => into.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        DType::F16 => {
            let (min, max) = (f16::MIN.to_f32(), f16::MAX.to_f32());
            into.extend(values.iter().flat_map(|value| f16::from_f32(value.clamp(min, max)).to_le_bytes()));
        }
        DType::Bf16 => {
            let (min, max) = (bf16::MIN.to_f32(), bf16::MAX.to_f32());
            into.extend(values.iter().flat_map(|value| bf16::from_f32(value.clamp(min, max)).to_le_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every finite f16 and bfloat16 survives the conversion to f32 and back.
        #[test]
        fn values_survive(bits: u16) {
            for dtype in [DType::F16, DType::Bf16] {
                let mut values = Vec::new();
                to_f32(dtype, &bits.to_le_bytes(), &mut values);
                prop_assume!(values[0].is_finite());
                let mut back = Vec::new();
                from_f32(dtype, &values, &mut back);
                prop_assert_eq!(&back[..], &bits.to_le_bytes()[..]);
            }
        }
    }

    #[test]
    fn what_is_too_large_becomes_the_largest() {
        let mut bytes = Vec::new();
        from_f32(DType::F16, &[1e9, -1e9], &mut bytes);
        let mut values = Vec::new();
        to_f32(DType::F16, &bytes, &mut values);
        assert_eq!(values, [65_504.0, -65_504.0]);
    }
}
