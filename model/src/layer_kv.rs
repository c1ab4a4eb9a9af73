//! KV of one block on its way out: the bytes that go on the wire.

use bytemuck::NoUninit;
use bytes::Bytes;
use candle_core::Tensor;

use crate::float::FloatType;

// The wire is little-endian and buffers are handed over as they lie in memory.
#[cfg(target_endian = "big")]
compile_error!("big-endian machines are not supported");

/// KV of one block for a whole prompt.
///
/// Both `k` and `v` are [tokens, kv_heads, head_dim], row-major, little-endian, in the model's `dtype`; keys are
/// already turned to their absolute positions.
#[derive(Clone, Debug)]
pub struct LayerKv {
    /// Index of the block in the checkpoint.
    pub layer: usize,
    /// How many tokens.
    pub tokens: usize,
    /// Keys.
    pub k: Bytes,
    /// Values.
    pub v: Bytes,
}

impl LayerKv {
    /// Copies keys and values [tokens, kv_heads, head_dim] out of the device, once.
    pub(crate) fn export(layer: usize, k: &Tensor, v: &Tensor, format: FloatType) -> candle_core::Result<LayerKv> {
        Ok(LayerKv { layer, tokens: k.dim(0)?, k: bytes_of(k, format)?, v: bytes_of(v, format)? })
    }
}

fn bytes_of(tensor: &Tensor, format: FloatType) -> candle_core::Result<Bytes> {
    let flat = tensor.flatten_all()?;
    Ok(match format {
        FloatType::F32 => Bytes::from_owner(Buffer(flat.to_vec1::<f32>()?)),
        FloatType::F16 => Bytes::from_owner(Buffer(flat.to_vec1::<half::f16>()?)),
        FloatType::Bf16 => Bytes::from_owner(Buffer(flat.to_vec1::<half::bf16>()?)),
    })
}

/// Lets `Bytes` own numbers without copying them.
struct Buffer<T>(Vec<T>);

impl<T: NoUninit> AsRef<[u8]> for Buffer<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn bytes_are_token_major_and_little_endian() {
        // [tokens 2, kv_heads 1, head_dim 2]
        let k = Tensor::new(&[[[1.0f32, 2.0]], [[3.0, 4.0]]], &Device::Cpu).unwrap();
        let kv = LayerKv::export(5, &k, &k, FloatType::F32).unwrap();
        assert_eq!((kv.layer, kv.tokens, kv.k.len()), (5, 2, 16));
        assert_eq!(kv.v[8..12], 3.0f32.to_le_bytes());
        let k = k.to_dtype(DType::F16).unwrap();
        let kv = LayerKv::export(5, &k, &k, FloatType::F16).unwrap();
        assert_eq!(kv.k[6..8], half::f16::from_f32(4.0).to_le_bytes());
    }
}
