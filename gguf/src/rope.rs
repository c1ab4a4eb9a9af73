//! Divisors of the rotary frequencies, which llama.cpp's converter computes from `llama3` scaling and stores as a
//! tensor in the file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{GgufError, Problem};
use crate::file::Gguf;
use crate::names::ROPE_DIVISORS;
use crate::tensor_type::TensorType;

/// Most rotary pairs of a head that are accepted.
const PAIRS_MAX: usize = 4096;

impl Gguf {
    /// Divisors of the rotary frequencies, one for each pair of a head; `None` if the file has none.
    pub fn rope_divisors(&self) -> Result<Option<Vec<f32>>, GgufError> {
        let Some(info) = self.tensors().get(ROPE_DIVISORS) else { return Ok(None) };
        let refused = |problem: &str| self.refused(Problem::tensor(ROPE_DIVISORS, problem));
        if info.kind != TensorType::F32 || info.shape.len() != 1 || info.shape[0] > PAIRS_MAX {
            return Err(refused("must be a vector of F32"));
        }
        let read = |source| GgufError::Read { path: self.path().into(), source };
        let mut bytes = vec![0; info.shape[0] * 4];
        File::open(self.path()).and_then(|file| file.read_exact_at(&mut bytes, info.bytes.start)).map_err(read)?;
        let numbers =
            bytes.chunks_exact(4).map(|number| f32::from_le_bytes([number[0], number[1], number[2], number[3]]));
        let divisors: Vec<f32> = numbers.collect();
        if divisors.iter().any(|divisor| !(divisor.is_finite() && *divisor > 0.0)) {
            return Err(refused("must hold positive numbers"));
        }
        Ok(Some(divisors))
    }
}
