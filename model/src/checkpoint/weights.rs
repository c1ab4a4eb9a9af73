//! Weights: one safetensors file, or several with an index, or a GGUF file, memory-mapped.
//!
//! Matrices are not copied: kernels read rows in the order that checkpoints store them in, so a matrix stored in the
//! requested format is a slice of the mapped file, which every process on the machine shares. Others are converted
//! once, into private memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use secateur_kernels::{Cpu, Matrix};

use crate::checkpoint::files::weight_files;
use crate::checkpoint::open_file::OpenFile;
use crate::checkpoint::stored::Stored;
use crate::checkpoint::{fingerprint, gguf, names};
use crate::error::{ModelError, Result};
use crate::float::{FloatType, WeightFormat};
use crate::stage::RepairFile;

/// The tensors of a checkpoint, by their unified names.
pub(crate) struct Weights {
    places: HashMap<String, Location>,
    cpu: Cpu,
    /// The format that matrices are read in.
    format: FloatType,
    packing: WeightFormat,
    /// The files that the tensors lie in.
    files: Vec<OpenFile>,
    /// Tensors in the files that cannot be read as weights.
    strangers: Vec<Stranger>,
}

/// Location of a tensor.
struct Location {
    /// Name of the tensor in the file.
    stored: String,
    tensor: Stored,
}

/// A tensor under no known naming scheme, or in a format that is not supported for weights.
struct Stranger {
    stored: String,
    /// The unified name, if the scheme is known.
    name: Option<String>,
    format: String,
}

/// A tensor of a checkpoint, as [`Weights::tensors`] lists them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed<'a> {
    /// Name of the tensor in the file.
    pub stored: &'a str,
    /// Unified name; `None` if the name in the file follows no known scheme.
    pub name: Option<&'a str>,
    /// The format that it is stored in, if that format cannot be computed with.
    pub unreadable: Option<&'a str>,
}

impl Weights {
    /// Maps the weights in `dir`. Matrices are read as `format`, and the language model's are packed as `packing` says.
    pub fn open(dir: &Path, cpu: Cpu, format: FloatType, packing: WeightFormat) -> Result<Weights> {
        let mut weights = Weights::empty(cpu, format, packing);
        let gguf = gguf::file(dir)?;
        for path in weight_files(dir)? {
            let file = OpenFile::open(&path)?;
            match &gguf {
                None => weights.add_file(&path, file.map()?, names::unified)?,
                Some(gguf) => weights.add_gguf(gguf, &file.map()?)?,
            }
            weights.files.push(file);
        }
        Ok(weights)
    }

    /// The tensors of a plan's repair file under the names that they have there: the replacements for blocks. Formats
    /// and packing are those of this checkpoint.
    pub fn beside(&self, repairs: &RepairFile) -> Result<Weights> {
        let mut weights = Weights::empty(self.cpu.clone(), self.format, self.packing);
        weights.add_file(repairs.path(), repairs.mapped(), |name| Some(name.to_owned()))?;
        Ok(weights)
    }

    fn empty(cpu: Cpu, format: FloatType, packing: WeightFormat) -> Weights {
        Weights { places: HashMap::new(), cpu, format, packing, files: Vec::new(), strangers: Vec::new() }
    }

    /// The fingerprint of the mapped files and of their configuration, in hexadecimal; `dir` as in [`Weights::open`].
    pub fn fingerprint(&self, dir: &Path, config: &[u8]) -> Result<String> {
        fingerprint::of_files(dir, config, &self.files)
    }

    /// Lists every tensor of the files.
    pub fn tensors(&self) -> impl Iterator<Item = Listed<'_>> {
        let read = self.places.iter().map(|(name, place)| Listed {
            stored: &place.stored,
            name: Some(name.as_str()),
            unreadable: None,
        });
        let strange = self.strangers.iter().map(|stranger| Listed {
            stored: &stranger.stored,
            name: stranger.name.as_deref(),
            unreadable: Some(stranger.format.as_str()),
        });
        read.chain(strange)
    }

    /// Whether a tensor with that unified name exists.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Whether two tensors are stored as the same bytes.
    pub fn are_same(&self, one: &str, other: &str) -> bool {
        match (self.places.get(one), self.places.get(other)) {
            (Some(one), Some(other)) => one.tensor == other.tensor,
            _ => false,
        }
    }

    /// Whether a tensor is stored and all of its numbers are 0, so that adding it changes nothing.
    pub fn is_zero(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(|place| place.tensor.is_zero())
    }

    /// For each tensor, the format that it can be used in without conversion, if any, and how many numbers it has.
    pub fn stored(&self) -> impl Iterator<Item = (Option<FloatType>, u64)> + '_ {
        self.places.values().map(|place| (place.tensor.as_it_lies(), place.tensor.count() as u64))
    }

    /// The threads and kernels that compute with these weights.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The tensor with that unified name, in f32; its shape must be exactly `shape`.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.numbers(name, shape)?, shape, &Device::Cpu)?)
    }

    /// A vector of `len` numbers.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.numbers(name, &[len])
    }

    /// Loads an affine map of the language model from `NAME.weight` and, if `bias` is set, `NAME.bias`, packed.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Matrix> {
        let matrix = self.plain_linear(name, inputs, outputs, bias)?;
        Ok(self.packed(matrix))
    }

    /// Loads an affine map without packing: for matrices that are not worth packing, or too sensitive to it.
    pub fn plain_linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Matrix> {
        let matrix = self.table(&format!("{name}.weight"), outputs, inputs)?;
        if bias {
            matrix.with_bias(self.vector(&format!("{name}.bias"), outputs)?).map_err(|error| unfit(name, error))
        } else {
            Ok(matrix)
        }
    }

    /// A lookup table: a matrix [rows, width] whose rows are read one at a time.
    pub fn table(&self, name: &str, rows: usize, width: usize) -> Result<Matrix> {
        self.reshaped(name, &[rows, width], rows, width)
    }

    /// A stored tensor of `shape` as a matrix [rows, width] of the same numbers in the same order.
    pub fn reshaped(&self, name: &str, shape: &[usize], rows: usize, width: usize) -> Result<Matrix> {
        let place = self.place(name, shape)?;
        let bytes = if place.as_it_lies() == Some(self.format) {
            place.bytes.clone()
        } else {
            place.converted(self.format, &self.cpu)?
        };
        Matrix::new(self.format.kernel(), rows, width, bytes).map_err(|error| unfit(name, error))
    }

    /// The head of a model that ties it to its embedding: the embedding's own matrix, or a packed copy.
    pub fn tied_head(&self, name: &str, vocab: usize, hidden: usize, embedding: &Arc<Matrix>) -> Result<Arc<Matrix>> {
        match self.packing {
            WeightFormat::Native => Ok(embedding.clone()),
            WeightFormat::Int8 => Ok(Arc::new(self.packed(self.table(name, vocab, hidden)?))),
        }
    }

    fn packed(&self, matrix: Matrix) -> Matrix {
        match self.packing {
            WeightFormat::Native => matrix,
            WeightFormat::Int8 => matrix.quantize(&self.cpu),
        }
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.place(name, shape)?.numbers()
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Stored> {
        let missing = || ModelError::MissingTensor { name: name.to_owned() };
        let tensor = &self.places.get(name).ok_or_else(missing)?.tensor;
        if tensor.shape != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        Ok(tensor)
    }

    fn add_gguf(&mut self, path: &Path, mapped: &Bytes) -> Result<()> {
        for (stored, name, tensor) in gguf::tensors(path, mapped)? {
            self.places.insert(name, Location { stored, tensor });
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, mapped: Bytes, named: impl Fn(&str) -> Option<String>) -> Result<()> {
        let broken = |problem: String| ModelError::Weights { path: path.into(), problem };
        let tensors = SafeTensors::deserialize(&mapped).map_err(|error| broken(error.to_string()))?;
        for (stored, view) in tensors.tensors() {
            let (name, dtype) = match (named(&stored), float_type(view.dtype())) {
                (Some(name), Some(dtype)) => (name, dtype),
                (name, _) => {
                    self.strangers.push(Stranger { stored, name, format: view.dtype().to_string() });
                    continue;
                }
            };
            let tensor = Stored::plain(mapped.slice_ref(view.data()), dtype, view.shape().to_vec());
            let place = Location { stored, tensor };
            if self.places.insert(name.clone(), place).is_some() {
                return Err(broken(format!("`{name}` is stored twice")));
            }
        }
        Ok(())
    }
}

fn unfit(name: &str, error: secateur_kernels::MatrixError) -> ModelError {
    ModelError::Weights { path: name.into(), problem: error.to_string() }
}

/// The float format of a stored tensor; `None` for integer buffers and packed quantized values.
fn float_type(stored: safetensors::Dtype) -> Option<FloatType> {
    match stored {
        safetensors::Dtype::F32 => Some(FloatType::F32),
        safetensors::Dtype::F16 => Some(FloatType::F16),
        safetensors::Dtype::BF16 => Some(FloatType::Bf16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::files::{INDEX, SINGLE};
    use candle_core::DType;

    fn save(dir: &Path, file: &str, tensors: &[(&str, &Tensor)]) {
        let tensors: HashMap<&str, Tensor> = tensors.iter().map(|(name, tensor)| (*name, (*tensor).clone())).collect();
        candle_core::safetensors::save(&tensors, dir.join(file)).unwrap();
    }

    fn open(dir: &Path) -> Result<Weights> {
        Weights::open(dir, Cpu::new(1), FloatType::F32, WeightFormat::Native)
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
            assert_eq!(weights.vector(name, 2).unwrap(), [1.0, 2.0]);
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
