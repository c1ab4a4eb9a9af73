//! Errors between a checkpoint folder and an answer.

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
        /// The system's error.
        source: io::Error,
    },
    /// A JSON file of the checkpoint does not parse.
    #[error("{} is not the JSON expected here: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A weights file is damaged or does not match its index.
    #[error("{}: {problem}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A configuration value that this crate does not implement, or that contradicts another.
    #[error("configuration field `{field}`: {problem}")]
    Config {
        /// The field's name as in the JSON, with dots between levels.
        field: String,
        /// The problem with its value.
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
    /// The checkpoint holds a tensor that the configured model would ignore, which would change its answers.
    #[error("the checkpoint holds `{name}`, {problem}")]
    UnusedTensor {
        /// The name as stored.
        name: String,
        /// Why it cannot be used.
        problem: String,
    },
    /// A tensor or a buffer does not have the configured shape.
    #[error("`{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the tensor or buffer.
        name: String,
        /// The configured shape.
        expected: Vec<usize>,
        /// The actual shape.
        found: Vec<usize>,
    },
    /// The requested device cannot be used.
    #[error("device `{device}`: {problem}")]
    Device {
        /// The requested device.
        device: String,
        /// The reason.
        problem: String,
    },
    /// Pictures were given to a model that was loaded without vision, or has none.
    #[error("this model was loaded without vision and cannot look at pictures")]
    NoVision,
    /// An answer does not follow its grammar, or the grammar cannot be used.
    #[error(transparent)]
    Grammar(#[from] secateur_grammar::GrammarError),
    /// A visual method that acts before the tower was asked of a tower that it cannot act on.
    #[error("the visual method `{method}` cannot be used with this checkpoint: {problem}")]
    View {
        /// The method.
        method: secateur_pruning::VisualMethod,
        /// The reason.
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
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A prompt without a single token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// More positions were requested than the model, or the cache, has.
    #[error("{tokens} tokens do not fit: the limit is {limit}")]
    ContextTooLong {
        /// The requested number of positions.
        tokens: usize,
        /// The number that fits.
        limit: usize,
    },
    /// The logits of a position are no distribution over tokens: some number overflowed.
    #[error("the model's logits are not numbers that a token can be drawn by")]
    Logits,
    /// The final hidden states of a prompt are not numbers: some number overflowed.
    #[error("the model's final states are not numbers")]
    States,
    /// A computation panicked, which is a defect of this program; the panic message is in the log.
    #[error("{what} panicked")]
    Defect {
        /// The computation that panicked.
        what: &'static str,
    },
    /// A KV cache that does not fit the model, or is not completely filled.
    #[error("KV cache: {problem}")]
    Cache {
        /// The problem.
        problem: String,
    },
    /// An index in a selection is out of range.
    #[error("{what} index {index} is out of range, there are {len}")]
    OutOfRange {
        /// The kind of item that was indexed.
        what: &'static str,
        /// The index.
        index: usize,
        /// Number of items.
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

/// The text for a file that cannot be read: plain words if it is missing, else the system's error.
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
