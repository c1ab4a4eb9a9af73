//! GGUF, the one-file format of llama.cpp and Ollama: what is in a file, and what its metadata says in the terms of a
//! Hugging Face checkpoint.
//!
//! [`find`] says whether a path that was given for a checkpoint stands for a GGUF file. [`Gguf::open`] reads everything but
//! tensor data. [`Gguf::config`], [`Gguf::generation_config`], [`Gguf::tokenizer`] and [`Gguf::tokenizer_config`] are the JSON
//! documents that a checkpoint folder of the same model would hold, so that the programs read both kinds of checkpoint in
//! one way.
//!
//! Everything in a file is taken for hostile: lengths are bounded by the bytes that follow, memory grows only with what was
//! really read, and whatever this version does not implement is refused by its name.
//!
//! Deliberately absent: tensor data and arithmetic, which are the `model` crate's; writing files.

#[cfg(test)]
mod build;
mod config;
mod error;
mod file;
mod names;
mod path;
mod reader;
mod rope;
mod tensor_type;
mod tokenizer;
mod value;

pub use error::GgufError;
pub use file::{Gguf, TensorInfo};
pub use names::{NamedTensor, RowOrder};
pub use path::{companions, find, name};
pub use tensor_type::TensorType;
pub use value::Value;
