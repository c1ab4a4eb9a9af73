//! Safetensors files: the distribution of tensors over files, and the headers.

use std::collections::BTreeMap;

use secateur_model::FloatType;
use serde_json::{Map, Value, json};

use super::tensors::Tensor;

/// File size at which the hub's tools start a new file.
pub const BYTES_MAX: u64 = 5_000_000_000;
/// Name of the index of a checkpoint in several files.
pub const INDEX: &str = "model.safetensors.index.json";

/// One safetensors file.
#[derive(Debug)]
pub struct Shard {
    /// Name of the file.
    pub file: String,
    /// Tensors in the order of their bytes.
    pub tensors: Vec<Tensor>,
    /// Total bytes of the tensors.
    pub bytes: u64,
}

/// Distributes tensors in order over as few files of at most `bytes_max` as possible; a tensor is never divided.
pub fn plan(tensors: Vec<Tensor>, dtype: FloatType, bytes_max: u64) -> Vec<Shard> {
    let mut shards: Vec<Shard> = Vec::new();
    for tensor in tensors {
        let bytes = bytes_of(&tensor, dtype);
        match shards.last_mut().filter(|shard| shard.bytes + bytes <= bytes_max) {
            Some(shard) => {
                shard.bytes += bytes;
                shard.tensors.push(tensor);
            }
            None => shards.push(Shard { file: String::new(), tensors: vec![tensor], bytes }),
        }
    }
    let count = shards.len();
    for (index, shard) in shards.iter_mut().enumerate() {
        shard.file = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
    }
    shards
}

/// Beginning of a file: the length of the header, and the header.
pub fn header(shard: &Shard, dtype: FloatType) -> serde_json::Result<Vec<u8>> {
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut start = 0;
    for tensor in &shard.tensors {
        let end = start + bytes_of(tensor, dtype);
        let entry = json!({"dtype": name(dtype), "shape": tensor.shape, "data_offsets": [start, end]});
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::to_vec(&Value::Object(entries))?;
    // The header is padded so that the numbers begin at a multiple of eight bytes, and a mapped file can be read in
    // place.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// The index of several files.
pub fn index(shards: &[Shard]) -> Value {
    let places = shards.iter().flat_map(|shard| shard.tensors.iter().map(|tensor| (&tensor.name, &shard.file)));
    let total: u64 = shards.iter().map(|shard| shard.bytes).sum();
    json!({"metadata": {"total_size": total}, "weight_map": places.collect::<BTreeMap<_, _>>()})
}

fn bytes_of(tensor: &Tensor, dtype: FloatType) -> u64 {
    tensor.len() * dtype.size_bytes() as u64
}

fn name(dtype: FloatType) -> &'static str {
    match dtype {
        FloatType::F32 => "F32",
        FloatType::Bf16 => "BF16",
        FloatType::F16 => "F16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::tensors::Fill;

    fn tensor(name: &str, len: usize) -> Tensor {
        Tensor { name: name.to_owned(), shape: vec![len], fill: Fill::Ones }
    }

    #[test]
    fn files_are_full_but_not_fuller() {
        let tensors = || vec![tensor("a", 3), tensor("b", 2), tensor("c", 1), tensor("d", 9)];
        let shards = plan(tensors(), FloatType::F16, 10);
        let found: Vec<(&str, u64)> = shards.iter().map(|shard| (shard.file.as_str(), shard.bytes)).collect();
        let names = ["model-00001-of-00003", "model-00002-of-00003", "model-00003-of-00003"];
        let names = names.map(|name| format!("{name}.safetensors"));
        assert_eq!(found, [(names[0].as_str(), 10), (&names[1], 2), (&names[2], 18)]);
        assert_eq!(index(&shards)["weight_map"]["c"], names[1].as_str());
        assert_eq!(index(&shards)["metadata"]["total_size"], 30);
        assert_eq!(plan(tensors(), FloatType::F16, 100)[0].file, "model.safetensors");
    }

    #[test]
    fn numbers_begin_at_a_multiple_of_eight() {
        for len in 1..20 {
            let shards = plan(vec![tensor(&"x".repeat(len), 3)], FloatType::F32, 100);
            let bytes = header(&shards[0], FloatType::F32).unwrap();
            assert!(bytes.len().is_multiple_of(8));
            assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize, bytes.len() - 8);
        }
    }
}
