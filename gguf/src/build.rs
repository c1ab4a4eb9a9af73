//! Builder of GGUF files for tests, valid and invalid ones.

use std::path::Path;

use crate::error::Problem;
use crate::file::Gguf;
use crate::value::Value;

/// Builder of a file.
#[derive(Clone)]
pub struct Build {
    version: u32,
    keys: Vec<(String, Vec<u8>)>,
    /// The tensors: name, dimensions in the format's order, type, bytes.
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Build {
    /// A file without keys and tensors.
    pub fn empty() -> Build {
        Build { version: 3, keys: Vec::new(), tensors: Vec::new() }
    }

    /// A small but complete llama model: 2 heads of width 4, one key/value head, 6 tokens.
    pub fn llama() -> Build {
        let text = |text: &str| Value::Text(text.to_owned());
        let count = |count: u32| Value::Integer(count.into());
        let tokens = ["<s>", "</s>", "a", "b", "ab", "\u{120}"].map(str::to_owned);
        let keys = [
            ("general.architecture", text("llama")),
            ("llama.block_count", count(1)),
            ("llama.context_length", count(64)),
            ("llama.embedding_length", count(8)),
            ("llama.feed_forward_length", count(16)),
            ("llama.attention.head_count", count(2)),
            ("llama.attention.head_count_kv", count(1)),
            ("llama.attention.layer_norm_rms_epsilon", Value::Float(1e-5)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            ("tokenizer.ggml.tokens", Value::Texts(tokens.to_vec())),
            ("tokenizer.ggml.token_type", Value::Integers(vec![3, 3, 1, 1, 1, 1])),
            ("tokenizer.ggml.merges", Value::Texts(vec!["a b".to_owned()])),
            ("tokenizer.ggml.bos_token_id", count(0)),
            ("tokenizer.ggml.eos_token_id", count(1)),
        ];
        let build = keys.into_iter().fold(Build::empty(), |build, (key, value)| build.with(key, value));
        let part = |name: &str| format!("blk.0.{name}.weight");
        build
            .tensor("token_embd.weight", &[8, 6])
            .tensor("output_norm.weight", &[8])
            .tensor(&part("attn_norm"), &[8])
            .tensor(&part("ffn_norm"), &[8])
            .tensor(&part("attn_q"), &[8, 8])
            .tensor(&part("attn_k"), &[8, 4])
            .tensor(&part("attn_v"), &[8, 4])
            .tensor(&part("attn_output"), &[8, 8])
            .tensor(&part("ffn_gate"), &[8, 16])
            .tensor(&part("ffn_up"), &[8, 16])
            .tensor(&part("ffn_down"), &[16, 8])
    }

    /// This file in another version of the format.
    pub fn version(self, version: u32) -> Build {
        Build { version, ..self }
    }

    /// Sets a key.
    pub fn with(self, key: &str, value: Value) -> Build {
        let bytes = encoded(&value);
        self.without(key).raw(key, bytes)
    }

    /// Adds a key whose type and value are given as bytes.
    pub fn raw(mut self, key: &str, bytes: Vec<u8>) -> Build {
        self.keys.push((key.to_owned(), bytes));
        self
    }

    /// Removes a key or a tensor.
    pub fn without(mut self, name: &str) -> Build {
        self.keys.retain(|(key, _)| key != name);
        self.tensors.retain(|(tensor, ..)| tensor != name);
        self
    }

    /// Adds a tensor of F32 zeros.
    pub fn tensor(self, name: &str, dimensions: &[u64]) -> Build {
        let bytes = 4 * dimensions.iter().product::<u64>() as usize;
        self.stored(name, dimensions, 0, vec![0; bytes])
    }

    /// Adds a tensor of any type.
    pub fn stored(mut self, name: &str, dimensions: &[u64], kind: u32, bytes: Vec<u8>) -> Build {
        self.tensors.push((name.to_owned(), dimensions.to_vec(), kind, bytes));
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for (name, dimensions, kind, content) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(content);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }

    /// Parses the file.
    pub fn read(&self) -> Result<Gguf, Problem> {
        read(&self.bytes())
    }
}

/// Parses the bytes of a file.
pub fn read(bytes: &[u8]) -> Result<Gguf, Problem> {
    Gguf::parse(Path::new("test.gguf"), bytes, bytes.len() as u64)
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn encoded(value: &Value) -> Vec<u8> {
    let with = |kind: u32, bytes: Vec<u8>| [kind.to_le_bytes().to_vec(), bytes].concat();
    let array = |kind: u32, count: usize, entries: Vec<u8>| {
        let head = [kind.to_le_bytes().to_vec(), (count as u64).to_le_bytes().to_vec()].concat();
        with(9, [head, entries].concat())
    };
    match value {
        Value::Integer(value) => with(4, (*value as u32).to_le_bytes().to_vec()),
        Value::Float(value) => with(6, (*value as f32).to_le_bytes().to_vec()),
        Value::Flag(value) => with(7, vec![u8::from(*value)]),
        Value::Text(value) => with(8, text(value)),
        Value::Integers(values) => {
            array(5, values.len(), values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect())
        }
        Value::Floats(values) => array(6, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Value::Flags(values) => array(7, values.len(), values.iter().map(|value| u8::from(*value)).collect()),
        Value::Texts(values) => array(8, values.len(), values.iter().flat_map(|value| text(value)).collect()),
    }
}
