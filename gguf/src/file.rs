//! A file's header: metadata, and where each tensor lies.

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

/// Versions that differ in nothing that is read here.
const VERSIONS: [u32; 2] = [2, 3];
/// Where `general.alignment` is missing.
const ALIGNMENT: u64 = 32;
/// A tensor's dimensions, as in ggml.
const DIMENSIONS_MAX: u32 = 4;
/// Far more than the largest models have.
const KEYS_MAX: usize = 1 << 16;
const TENSORS_MAX: usize = 1 << 16;
/// The least that an entry takes: a length, a type and a value of a byte; a length, two 32-bit numbers and an offset.
const KEY_BYTES_MIN: u64 = 13;
const TENSOR_BYTES_MIN: u64 = 24;

/// A GGUF file, everything but its tensor data.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// Where a tensor lies in the file and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// How its numbers are stored.
    pub kind: TensorType,
    /// Its shape, the outermost dimension first, as in safetensors; the format's own order is the reverse.
    pub shape: Vec<usize>,
    /// Its bytes in the file. They begin at a multiple of 8, lie within the file, and hold exactly the shape's numbers.
    pub bytes: Range<u64>,
}

impl Gguf {
    /// Reads the header of the file at `path`. Refused: what is no GGUF file of a version in use, is damaged, is part of a
    /// split file, or has tensors of a type that is not read.
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

    /// Reads the header of a file whose content is `content`. The path is for messages.
    pub fn read(path: &Path, content: &[u8]) -> Result<Gguf, GgufError> {
        let refused = |problem| GgufError::File { path: path.into(), problem };
        Gguf::parse(path, content, content.len() as u64).map_err(refused)
    }

    /// Reads a header from `content`, which has `bytes` bytes. The path is for messages.
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

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by their names in the file.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// A digest of everything that the file says of its tokenizer, in hexadecimal.
    pub fn tokenizer_digest(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("secateur gguf tokenizer v1");
        for (key, value) in self.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
            hasher.update(&(key.len() as u64).to_le_bytes());
            hasher.update(key.as_bytes());
            value.digest(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Puts the file's path before a problem.
    pub(crate) fn refused(&self, problem: Problem) -> GgufError {
        GgufError::File { path: self.path.clone(), problem }
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A text, where the key is there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_kind(key, "a text", other)),
        }
    }

    /// A truth value, where the key is there.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_kind(key, "true or false", other)),
        }
    }

    /// A number that is not negative and fits 32 bits, where the key is there.
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

    /// A number with a fraction, where the key is there.
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

/// What the error for a value of another type says.
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

/// Spec: a multiple of 8. ggml: a power of two.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, Problem> {
    let key = "general.alignment";
    match metadata.get(key) {
        None => Ok(ALIGNMENT),
        Some(Value::Integer(value)) if (8..=1 << 20).contains(value) && value.count_ones() == 1 => Ok(*value as u64),
        Some(Value::Integer(value)) => Err(Problem::key(key, format!("{value} is no power of two from 8 to 2^20"))),
        Some(other) => Err(wrong_kind(key, "an integer", other)),
    }
}

/// A tensor as the list has it.
struct Listed {
    name: String,
    kind: TensorType,
    shape: Vec<usize>,
    /// From the start of the data.
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

    /// Bytes of its data; `None`: the shape is impossible.
    fn bytes(&self) -> Option<u64> {
        let numbers = self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
        // Rows are stored each by itself: a block does not go over the end of one.
        let row = *self.shape.last()?;
        if numbers == 0 || !row.is_multiple_of(self.kind.block_numbers()) {
            return None;
        }
        ((numbers / self.kind.block_numbers()) as u64).checked_mul(self.kind.block_bytes() as u64)
    }
}

/// Where each tensor lies in a file of `file_bytes`, whose data begin at `data`.
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
