//! The reasons why a checkpoint cannot be served.

use std::path::{Path, PathBuf};

use crate::template::TemplateError;

/// Why a checkpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{}; --model must name a Hugging Face checkpoint folder or a GGUF file", unread(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not JSON.
    #[error("{} is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error, with its position.
        source: serde_json::Error,
    },
    /// tokenizer.json is not a tokenizer.
    #[error("{} is not a tokenizer: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The library's error.
        message: String,
    },
    /// A GGUF file, or a folder of several, cannot be used.
    #[error(transparent)]
    Gguf(#[from] secateur_gguf::GgufError),
    /// generation_config.json has a value that is not supported.
    #[error("{}: {key} is {value}; {key} {rule}", path.display())]
    Generation {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The rule that the value breaks.
        rule: String,
    },
    /// The chat template does not compile.
    #[error("the chat template of {} cannot be used: {source}", path.display())]
    Template {
        /// The folder or file.
        path: PathBuf,
        /// The compiler's error, with its position.
        source: TemplateError,
    },
}

/// The message for a file that cannot be read: plain words if it does not exist, else the system's error.
fn unread(path: &Path, source: &std::io::Error) -> String {
    match source.kind() {
        std::io::ErrorKind::NotFound => format!("{} is not there", path.display()),
        _ => format!("cannot read {}: {source}", path.display()),
    }
}
