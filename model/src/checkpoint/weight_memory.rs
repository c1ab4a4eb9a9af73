//! Memory that weights will take, computed from the headers of their files.

use std::path::Path;

use secateur_kernels::Cpu;

use crate::checkpoint::{Config, Weights, check_tensors};
use crate::device;
use crate::error::ModelError;
use crate::float::{FloatType, WeightFormat};

/// Bytes that the weights of a checkpoint take with all of its parts loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightMemory {
    /// Bytes used in place in the files: shared by all processes of a machine, and reclaimable when memory is short.
    pub mapped: u64,
    /// Bytes converted at start: each node has its own copy.
    pub own: u64,
}

impl WeightMemory {
    /// The memory for the checkpoint in `dir`; `dtype` and `weights` as in [`crate::LoadOptions`]. Fails if a weights
    /// file is missing, damaged, or does not belong to the configured model.
    pub fn read(dir: &Path, dtype: Option<FloatType>, weights: WeightFormat) -> Result<WeightMemory, ModelError> {
        let config = Config::read(dir)?;
        let compute = device::compute_type(dtype, config.stored);
        let stored = Weights::open(dir, Cpu::new(1), compute, weights)?;
        check_tensors(dir, &config, &stored)?;
        Ok(stored.stored().fold(WeightMemory::default(), |memory, tensor| memory.with(tensor, compute, weights)))
    }

    fn with(
        self,
        (stored, numbers): (Option<FloatType>, u64),
        compute: FloatType,
        weights: WeightFormat,
    ) -> WeightMemory {
        match weights {
            WeightFormat::Native if stored == Some(compute) => {
                WeightMemory { mapped: self.mapped + numbers * compute.size_bytes() as u64, ..self }
            }
            WeightFormat::Native => WeightMemory { own: self.own + numbers * compute.size_bytes() as u64, ..self },
            // Scales, and the few tensors that are not packed, are small beside the rest.
            WeightFormat::Int8 => WeightMemory { own: self.own + numbers, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_converted_is_a_nodes_own() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
        let of = |dtype, weights| WeightMemory::read(&dir, Some(dtype), weights).unwrap();
        let mapped = of(FloatType::F16, WeightFormat::Native);
        let file = std::fs::metadata(dir.join("model.safetensors")).unwrap().len();
        assert!(mapped.own == 0 && mapped.mapped < file && mapped.mapped > file - 65_536, "{mapped:?} of {file}");
        assert_eq!(of(FloatType::F32, WeightFormat::Native), WeightMemory { mapped: 0, own: 2 * mapped.mapped });
        assert_eq!(of(FloatType::F16, WeightFormat::Int8), WeightMemory { mapped: 0, own: mapped.mapped / 2 });
    }

    #[test]
    fn blocks_are_a_nodes_own_in_any_format() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf/models/llama-q4_0.gguf");
        let of = |dtype| WeightMemory::read(&file, Some(dtype), WeightFormat::Native).unwrap();
        let vectors = 5 * 64 * 4;
        assert_eq!(of(FloatType::F32).mapped, vectors);
        assert_eq!((of(FloatType::Bf16).mapped, of(FloatType::Bf16).own), (0, (of(FloatType::F32).own + vectors) / 2));
    }
}
