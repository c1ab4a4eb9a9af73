//! A file's header: its metadata, and type, shape and place of each tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{GgufError, Problem};
use crate::path::{MAGIC, is_part, split_refused};
use crate::reader::Reader;
use crate::tensor_type::{TensorType, foreign_name};
use crate::value::Value;

/// Supported versions of the format, which do not differ in anything that is read here.
const VERSIONS: [u32; 2] = [2, 3];
/// Default of `general.alignment`.
const ALIGNMENT: u64 = 32;
/// Most dimensions of a tensor, as in ggml.
const DIMENSIONS_MAX: u32 = 4;
/// Most metadata keys, far more than the largest models have; the same limit holds for tensors.
const KEYS_MAX: usize = 1 << 16;
const TENSORS_MAX: usize = 1 << 16;
/// Least bytes of an entry: for a key a length, a type and a value of one byte; for a tensor a length, two 32-bit
/// numbers and an offset.
const KEY_BYTES_MIN: u64 = 13;
const TENSOR_BYTES_MIN: u64 = 24;

/// The content of a GGUF file without its tensor data.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Type, shape and place of a tensor in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Format of the tensor's numbers.
    pub kind: TensorType,
    /// Shape of the tensor, outermost dimension first, as in safetensors; the format's own order is the reverse.
    pub shape: Vec<usize>,
    /// Range of the tensor's bytes in the file. They begin at a multiple of 8, lie within the file, and hold exactly
    /// the shape's numbers.
    pub bytes: Range<u64>,
}

impl Gguf {
    /// Reads the header of the file at `path`. A file is refused if it is no GGUF file of a supported version, is
    /// damaged, is part of a split file, or has tensors of an unsupported type.
    pub fn open(path: &Path) -> Result<Gguf, GgufError> {
        let read = |source| GgufError::Read { path: path.into(), source };
        let file = File::open(path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        let refused = |problem| GgufError::File { path: path.into(), problem };
        if is_part(path) {
            return Err(refused(split_refused()));
        }
        Gguf::parse(path, BufReader::new(file), bytes).map_err(refused)
    }

    /// Reads the header of a file with the content `content`. `path` is used in messages only.
    pub fn read(path: &Path, content: &[u8]) -> Result<Gguf, GgufError> {
        let refused = |problem| GgufError::File { path: path.into(), problem };
        Gguf::parse(path, content, content.len() as u64).map_err(refused)
    }

    /// Reads a header from `content`, which has `bytes` bytes. `path` is used in messages only.
    pub(crate) fn parse(path: &Path, content: impl Read, bytes: u64) -> Result<Gguf, Problem> {
        let mut reader = Reader::new(content, bytes);
        check_version(&mut reader)?;
        let tensors = reader.count("tensors", TENSOR_BYTES_MIN)?;
        let keys = reader.count("keys", KEY_BYTES_MIN)?;
        if keys > KEYS_MAX || tensors > TENSORS_MAX {
            return Err(Problem::Damaged(format!("{keys} keys and {tensors} tensors are beyond every model")));
        }
        let metadata = read_metadata(&mut reader, keys)?;
        check_split(&metadata)?;
        let listed = (0..tensors).map(|_| Listed::read(&mut reader)).collect::<Result<Vec<_>, _>>()?;
        let alignment = alignment(&metadata)?;
        let data = reader.position().next_multiple_of(alignment);
        let tensors = place(listed, data, alignment, bytes)?;
        Ok(Gguf { path: path.into(), metadata, tensors })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by their names in the file.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A digest of all metadata of the file's tokenizer, in hexadecimal.
    pub fn tokenizer_digest(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("secateur gguf tokenizer v1");
        for (key, value) in self.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key.as_bytes());
            value.digest(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Adds the file's path to a problem.
    pub(crate) fn refused(&self, problem: Problem) -> GgufError {
        GgufError::File { path: self.path.clone(), problem }
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The value of a key that must be a text; `None` if the key is missing.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_kind(key, "a text", other)),
        }
    }

    /// The value of a key that must be a truth value; `None` if the key is missing.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_kind(key, "true or false", other)),
        }
    }

    /// The value of a key that must be an unsigned integer of 32 bits; `None` if the key is missing.
    pub(crate) fn count(&self, key: &str) -> Result<Option<u32>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Integer(value)) => {
                let out = |_| Problem::key(key, format!("{value} is out of range"));
                u32::try_from(*value).map(Some).map_err(out)
            }
            Some(other) => Err(wrong_kind(key, "an integer", other)),
        }
    }

    /// The value of a key that must be a finite number; `None` if the key is missing.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Float(value)) if value.is_finite() => Ok(Some(*value)),
            Some(Value::Integer(value)) => Ok(Some(*value as f64)),
            Some(Value::Float(value)) => Err(Problem::key(key, format!("{value} is no number"))),
            Some(other) => Err(wrong_kind(key, "a number", other)),
        }
    }
}

/// The problem of a value of the wrong type.
pub(crate) fn wrong_kind(key: &str, expected: &str, found: &Value) -> Problem {
    Problem::key(key, format!("must be {expected}, not {}", found.kind()))
}

fn check_version<R: Read>(reader: &mut Reader<R>) -> Result<(), Problem> {
    let short = |_| Problem::Format("it is shorter than a header".to_owned());
    let magic = reader.array::<4>().map_err(short)?;
    if magic != MAGIC {
        return Err(Problem::Format("it does not begin with `GGUF`".to_owned()));
    }
    let version = reader.u32().map_err(short)?;
    if VERSIONS.contains(&version.swap_bytes()) {
        return Err(Problem::Format("it is for big-endian machines, which is not supported".to_owned()));
    }
    if !VERSIONS.contains(&version) {
        return Err(Problem::Format(format!("version {version} is not supported, only 2 and 3")));
    }
    Ok(())
}

fn read_metadata<R: Read>(reader: &mut Reader<R>, keys: usize) -> Result<BTreeMap<String, Value>, Problem> {
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = reader.name()?;
        let value = reader.value()?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(Problem::Damaged(format!("the key `{key}` is there twice")));
        }
    }
    Ok(metadata)
}

fn check_split(metadata: &BTreeMap<String, Value>) -> Result<(), Problem> {
    match metadata.get("split.count") {
        Some(Value::Integer(parts)) if *parts > 1 => Err(split_refused()),
        _ => Ok(()),
    }
}

/// Alignment of tensor data in bytes. The specification demands a multiple of 8, ggml a power of two.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Problem> {
    let key = "general.alignment";
    match metadata.get(key) {
        None => Ok(ALIGNMENT),
        Some(Value::Integer(value)) if (8..=1 << 20).contains(value) && value.count_ones() == 1 => Ok(*value as u64),
        Some(Value::Integer(value)) => Err(Problem::key(key, format!("{value} is no power of two from 8 to 2^20"))),
        Some(other) => Err(wrong_kind(key, "an integer", other)),
    }
}

/// An entry of the file's tensor list.
struct Listed {
    name: String,
    kind: TensorType,
    shape: Vec<usize>,
    /// Offset of the tensor's bytes from the start of the data section.
    offset: u64,
}

impl Listed {
    fn read<R: Read>(reader: &mut Reader<R>) -> Result<Listed, Problem> {
        let name = reader.name()?;
        let dimensions = reader.u32()?;
        if dimensions == 0 || dimensions > DIMENSIONS_MAX {
            return Err(Problem::tensor(name, format!("{dimensions} dimensions")));
        }
        let mut shape = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            let size = reader.u64()?;
            shape.push(usize::try_from(size).map_err(|_| Problem::tensor(&name, format!("a dimension of {size}")))?);
        }
        shape.reverse();
        let number = reader.u32()?;
        let Some(kind) = TensorType::from_number(number) else {
            let problem = format!("is stored as {} ({number}), which is not supported", foreign_name(number));
            return Err(Problem::tensor(name, problem));
        };
        Ok(Listed { name, kind, shape, offset: reader.u64()? })
    }

    /// Size of the tensor's data in bytes; `None` if the shape is impossible.
    fn bytes(&self) -> Option<u64> {
        let numbers = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
        // Each row is stored by itself: a block does not extend over the end of a row.
        let row = *self.shape.last()?;
        if numbers == 0 || !row.is_multiple_of(self.kind.block_numbers()) {
            return None;
        }
        ((numbers / self.kind.block_numbers()) as u64).checked_mul(self.kind.block_bytes() as u64)
    }
}

/// Computes the place of each tensor in a file of `file_bytes` bytes whose data section begins at `data`, and checks
/// that it lies within the file.
fn place(
    listed: Vec<Listed>,
    data: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<BTreeMap<String, TensorInfo>, Problem> {
    let mut tensors = BTreeMap::new();
    for tensor in listed {
        let Some(bytes) = tensor.bytes() else {
            let problem = format!("shape {:?} is impossible for {}", tensor.shape, tensor.kind);
            return Err(Problem::tensor(tensor.name, problem));
        };
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(Problem::tensor(tensor.name, format!("offset {} is not aligned", tensor.offset)));
        }
        let start = data.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(bytes)).filter(|end| *end <= file_bytes);
        let (Some(start), Some(end)) = (start, end) else {
            let problem = format!("its {bytes} bytes go beyond the end of the file: it is cut short");
            return Err(Problem::tensor(tensor.name, problem));
        };
        let info = TensorInfo { kind: tensor.kind, shape: tensor.shape, bytes: start..end };
        if tensors.insert(tensor.name.clone(), info).is_some() {
            return Err(Problem::tensor(tensor.name, "is there twice"));
        }
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests;
