//! Weights: one safetensors file, or several with an index, memory-mapped and read tensor by tensor.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::checkpoint::{json, names};
use crate::error::{ModelError, Result};
use crate::float::FloatType;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a checkpoint, by their unified names.
pub(crate) struct Weights {
    files: Vec<Mmap>,
    places: HashMap<String, Place>,
    device: Device,
    compute: FloatType,
}

/// Where a tensor lies.
struct Place {
    file: usize,
    /// First byte and length in that file.
    start: usize,
    len: usize,
    dtype: DType,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Index {
    /// Stored tensor name to file name.
    weight_map: HashMap<String, String>,
}

impl Weights {
    /// Maps the weights in `dir`. Tensors will be placed on `device` in the format `compute`.
    pub fn open(dir: &Path, device: Device, compute: FloatType) -> Result<Weights> {
        let mut weights = Weights { files: Vec::new(), places: HashMap::new(), device, compute };
        for path in weight_files(dir)? {
            weights.add_file(&path)?;
        }
        Ok(weights)
    }

    /// The tensor of that unified name, which must have exactly this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let missing = || ModelError::MissingTensor { name: name.to_owned() };
        let place = self.places.get(name).ok_or_else(missing)?;
        if place.shape != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: place.shape.clone(),
            });
        }
        let bytes = &self.files[place.file][place.start..place.start + place.len];
        let stored = Tensor::from_raw_buffer(bytes, place.dtype, shape, &self.device)?;
        Ok(stored.to_dtype(self.compute.candle())?)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let mapped = map(path)?;
        let broken = |problem: String| ModelError::Weights { path: path.into(), problem };
        let tensors = SafeTensors::deserialize(&mapped).map_err(|error| broken(error.to_string()))?;
        let base = mapped.as_ptr() as usize;
        let mut places = Vec::with_capacity(tensors.len());
        for (stored, view) in tensors.tensors() {
            let Some(name) = names::unified(&stored) else { continue };
            let Some(dtype) = float_dtype(view.dtype()) else { continue };
            let start = view.data().as_ptr() as usize - base;
            let (len, shape) = (view.data().len(), view.shape().to_vec());
            places.push((name, Place { file: self.files.len(), start, len, dtype, shape }));
        }
        for (name, place) in places {
            if self.places.insert(name.clone(), place).is_some() {
                return Err(broken(format!("`{name}` is stored twice")));
            }
        }
        self.files.push(mapped);
        Ok(())
    }
}

/// The formats that hold weights. Others (integer buffers, packed quantized values) count as not there.
fn float_dtype(stored: safetensors::Dtype) -> Option<DType> {
    match stored {
        safetensors::Dtype::F32 => Some(DType::F32),
        safetensors::Dtype::F16 => Some(DType::F16),
        safetensors::Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

fn map(path: &Path) -> Result<Mmap> {
    let io = |source| ModelError::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    // SAFETY: the mapping is only read. A checkpoint that is overwritten in place while it is being loaded would
    // give wrong weights or a bus error; nothing at this level can prevent that, and a loaded model holds copies.
    unsafe { Mmap::map(&file) }.map_err(io)
}

/// The safetensors files of a checkpoint, in a fixed order.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let path = dir.join(INDEX);
    let index: Index = json::read(&path)?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    for file in &files {
        // A name such as `../../etc/passwd` in a downloaded index must not lead out of the folder.
        if Path::new(file).file_name() != Some(file.as_ref()) {
            return Err(ModelError::Weights { path, problem: format!("`{file}` is not a plain file name") });
        }
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(dir: &Path, file: &str, tensors: &[(&str, &Tensor)]) {
        let tensors: HashMap<&str, Tensor> = tensors.iter().map(|(name, tensor)| (*name, (*tensor).clone())).collect();
        candle_core::safetensors::save(&tensors, dir.join(file)).unwrap();
    }

    fn open(dir: &Path) -> Result<Weights> {
        Weights::open(dir, Device::Cpu, FloatType::F32)
    }

    #[test]
    fn shards_are_one_checkpoint_and_formats_are_converted() {
        let dir = tempfile::tempdir().unwrap();
        let one = Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        save(dir.path(), "a.safetensors", &[("model.norm.weight", &one)]);
        save(dir.path(), "b.safetensors", &[("lm_head.weight", &one)]);
        let index = r#"{"weight_map": {"model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index).unwrap();
        let weights = open(dir.path()).unwrap();
        for name in ["language.norm.weight", "lm_head.weight"] {
            assert_eq!(weights.tensor(name, &[2]).unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        }
    }

    #[test]
    fn absent_and_misshapen_tensors_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let one = Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap();
        save(dir.path(), SINGLE, &[("model.norm.weight", &one)]);
        let weights = open(dir.path()).unwrap();
        assert!(matches!(weights.tensor("lm_head.weight", &[2]), Err(ModelError::MissingTensor { .. })));
        assert!(matches!(weights.tensor("language.norm.weight", &[1, 2]), Err(ModelError::Shape { .. })));
    }

    #[test]
    fn an_index_that_leads_out_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let index = r#"{"weight_map": {"lm_head.weight": "../b.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index).unwrap();
        assert!(matches!(open(dir.path()), Err(ModelError::Weights { .. })));
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let one = Tensor::new(&[1.0f32, 2.0], &Device::Cpu).unwrap();
        save(dir.path(), SINGLE, &[("model.norm.weight", &one)]);
        let bytes = std::fs::read(dir.path().join(SINGLE)).unwrap();
        std::fs::write(dir.path().join(SINGLE), &bytes[..bytes.len() - 1]).unwrap();
        assert!(matches!(open(dir.path()), Err(ModelError::Weights { .. })));
    }

    #[test]
    fn one_tensor_under_two_names_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let one = Tensor::new(&[1.0f32], &Device::Cpu).unwrap();
        save(dir.path(), SINGLE, &[("model.norm.weight", &one), ("model.language_model.norm.weight", &one)]);
        assert!(matches!(open(dir.path()), Err(ModelError::Weights { .. })));
    }
}
