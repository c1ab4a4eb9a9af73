//! Errors of reading a GGUF file.

use std::path::PathBuf;

/// Reason why a GGUF file cannot be used. Every message begins with the path or names it.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file's content cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Problem with the file's content.
        problem: Problem,
    },
    /// A folder's GGUF files cannot be used.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Problem with the folder's files.
        problem: String,
    },
}

/// Problem with a file's content.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The bytes are not those of a GGUF file.
    #[error("not a GGUF file: {0}")]
    Format(String),
    /// The file ends early, or a length in it is out of bounds.
    #[error("the GGUF file is damaged: {0}")]
    Damaged(String),
    /// A required key is missing.
    #[error("the GGUF file has no key `{0}`")]
    MissingKey(String),
    /// A key's value has the wrong type, is out of range, or is not supported.
    #[error("GGUF key `{key}`: {problem}")]
    Key {
        /// The key.
        key: String,
        /// Problem with the key's value.
        problem: String,
    },
    /// This version cannot use a tensor.
    #[error("GGUF tensor `{tensor}`: {problem}")]
    Tensor {
        /// The tensor's name in the file.
        tensor: String,
        /// Problem with the tensor.
        problem: String,
    },
}

impl Problem {
    /// A problem with a key's value that is not supported or not possible.
    pub(crate) fn key(key: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem::Key { key: key.into(), problem: problem.into() }
    }

    /// A problem with a tensor that is not supported or not possible.
    pub(crate) fn tensor(tensor: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem::Tensor { tensor: tensor.into(), problem: problem.into() }
    }
}
