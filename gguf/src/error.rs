//! What can be wrong with a GGUF file.

use std::path::PathBuf;

/// Why a GGUF file cannot be used. Every message but that of [`GgufError::Read`] is about the file's content; [`crate::find`]
/// and [`crate::Gguf::open`] put the path before it.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file's content cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A folder's GGUF files cannot be used.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with its files.
        problem: String,
    },
}

/// What is wrong with a file's content.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The bytes are not those of a GGUF file.
    #[error("not a GGUF file: {0}")]
    Format(String),
    /// The file ends early, or a length in it is out of bounds.
    #[error("the GGUF file is damaged: {0}")]
    Damaged(String),
    /// A key that is needed is missing.
    #[error("the GGUF file has no key `{0}`")]
    MissingKey(String),
    /// A key's value is of another type or outside of what it may be.
    #[error("GGUF key `{key}`: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// A tensor that this version cannot use.
    #[error("GGUF tensor `{tensor}`: {problem}")]
    Tensor {
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Problem {
    /// A value that is not supported or not possible.
    pub(crate) fn key(key: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem::Key { key: key.into(), problem: problem.into() }
    }

    /// A tensor that is not supported or not possible.
    pub(crate) fn tensor(tensor: impl Into<String>, problem: impl Into<String>) -> Problem {
        Problem::Tensor { tensor: tensor.into(), problem: problem.into() }
    }
}
