//! GGUF, the one-file format of llama.cpp and Ollama: reading a file's header, and converting its metadata into the
//! documents of a Hugging Face checkpoint.
//!
//! [`find`] tells whether a path given for a checkpoint stands for a GGUF file. [`Gguf::open`] reads everything but
//! tensor data. [`Gguf::config`], [`Gguf::generation_config`], [`Gguf::tokenizer`] and [`Gguf::tokenizer_config`] are
//! the JSON documents that a checkpoint folder of the same model would hold, so that the programs read both kinds of
//! checkpoint in one way.
//!
//! A file is untrusted input: lengths are bounded by the bytes that follow, memory grows only with bytes that were
//! really read, and features that this version does not implement are refused by name.
//!
//! Deliberately absent: tensor data and arithmetic, which belong to the `model` crate, and writing files.

mod architecture;
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
