//! What can go wrong between a checkpoint folder and an answer.

use std::io;
use std::path::{Path, PathBuf};

use crate::vision::PictureError;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the checkpoint cannot be read.
    #[error("{}", unread(path, source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A JSON file of the checkpoint does not parse.
    #[error("{} is not the JSON expected here: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A weights file is damaged or not what its index says.
    #[error("{}: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A configuration value this crate does not implement, or that contradicts another.
    #[error("configuration field `{field}`: {problem}")]
    Config {
        /// The field's name as the JSON has it, with dots between levels.
        field: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A GGUF file, or a folder of several, that cannot be used.
    #[error(transparent)]
    Gguf(#[from] secateur_gguf::GgufError),
    /// The checkpoint lacks a tensor.
    #[error("the checkpoint has no tensor `{name}`")]
    MissingTensor {
        /// The name, after the naming schemes are unified (see `checkpoint::names`).
        name: String,
    },
    /// The checkpoint holds a tensor that the configured model would leave out, and with it a part of its answers.
    #[error("the checkpoint holds `{name}`, {problem}")]
    UnusedTensor {
        /// The name, as it is stored.
        name: String,
        /// Why it cannot be used.
        problem: String,
    },
    /// A tensor or a buffer is not of the shape that the configuration says.
    #[error("`{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which tensor or buffer.
        name: String,
        /// What the configuration says.
        expected: Vec<usize>,
        /// What is there.
        found: Vec<usize>,
    },
    /// The device asked for cannot be used.
    #[error("device `{device}`: {problem}")]
    Device {
        /// The device asked for.
        device: String,
        /// Why not.
        problem: String,
    },
    /// Pictures given to a model that was loaded without vision, or has none.
    #[error("this model was loaded without vision and cannot look at pictures")]
    NoVision,
    /// A visual method that acts before the tower, on a tower that it cannot act on.
    #[error("the visual method `{method}` cannot be used with this checkpoint: {problem}")]
    View {
        /// The method.
        method: secateur_pruning::VisualMethod,
        /// Why not.
        problem: &'static str,
    },
    /// A picture that cannot be decoded or is too large.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A token id outside the vocabulary.
    #[error("token id {token} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        token: u32,
        /// How many there are.
        vocab: usize,
    },
    /// A prompt without a single token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// More positions than the model, or the cache, has.
    #[error("{tokens} tokens do not fit: the limit is {limit}")]
    ContextTooLong {
        /// How many were asked for.
        tokens: usize,
        /// How many fit.
        limit: usize,
    },
    /// What the model made of a position is no distribution over tokens: its numbers overflowed somewhere.
    #[error("the model's logits are not numbers that a token can be drawn by")]
    Logits,
    /// Something panicked: a defect of this program, whose message is in the log.
    #[error("{what} panicked")]
    Defect {
        /// What was done.
        what: &'static str,
    },
    /// A KV cache that does not fit the model, or is not completely filled.
    #[error("KV cache: {problem}")]
    Cache {
        /// What is wrong.
        problem: String,
    },
    /// A selection that names something which is not there.
    #[error("{what} index {index} is out of range, there are {len}")]
    OutOfRange {
        /// What was indexed.
        what: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The tensor library failed: out of memory, a driver fault, or a defect here.
    #[error("tensor backend: {0}")]
    Backend(#[from] candle_core::Error),
}

impl ModelError {
    /// A refused configuration value.
    pub(crate) fn config(field: impl Into<String>, problem: impl Into<String>) -> Self {
        ModelError::Config { field: field.into(), problem: problem.into() }
    }

    /// A misused or unfinished cache.
    pub(crate) fn cache(problem: impl Into<String>) -> Self {
        ModelError::Cache { problem: problem.into() }
    }
}

/// A file that is not there is told so, in words; anything else in the system's.
fn unread(path: &Path, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => format!("{} is not there", path.display()),
        _ => format!("cannot read {}: {source}", path.display()),
    }
}

/// Results of this crate.
pub(crate) type Result<T, E = ModelError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_told_in_words() {
        let io = |kind: io::ErrorKind| ModelError::Io { path: "/m/a.safetensors".into(), source: kind.into() };
        assert_eq!(io(io::ErrorKind::NotFound).to_string(), "/m/a.safetensors is not there");
        assert!(io(io::ErrorKind::PermissionDenied).to_string().starts_with("cannot read /m/a.safetensors: "));
    }
}
