//! The documents of a checkpoint, by their names in a Hugging Face folder: read from the folder, or made from a GGUF
//! file's metadata.

use std::{
    io,
    path::{Path, PathBuf},
};

use secateur_gguf::Gguf;
use serde_json::Value;

use super::error::LoadError;

/// Where the documents of one checkpoint come from.
pub enum Documents {
    /// A folder in the Hugging Face layout.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(Gguf),
}

impl Documents {
    /// The documents of the checkpoint at `path`.
    pub fn of(path: &Path) -> Result<Self, LoadError> {
        match secateur_gguf::find(path)? {
            Some(file) => Ok(Self::Gguf(Gguf::open(&file)?)),
            None => Ok(Self::Folder(path.to_owned())),
        }
    }

    /// The bytes of a document; `None` if it does not exist.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        match self {
            Self::Folder(folder) => match std::fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(LoadError::Read { path: folder.join(name), source }),
            },
            Self::Gguf(gguf) => Ok(made(gguf, name)?.map(|document| document.to_string().into_bytes())),
        }
    }

    /// A JSON document; null if it does not exist.
    pub fn json(&self, name: &str) -> Result<Value, LoadError> {
        match self {
            Self::Folder(_) => match self.bytes(name)? {
                None => Ok(Value::Null),
                Some(bytes) => serde_json::from_slice(&bytes)
                    .map_err(|source| LoadError::Json { path: self.path().join(name), source }),
            },
            Self::Gguf(gguf) => Ok(made(gguf, name)?.unwrap_or(Value::Null)),
        }
    }

    /// The tokenizer's digest, which nodes and router compare. `bytes` are those of tokenizer.json. For a GGUF file the
    /// digest is taken from the file's own data, since another version may write the tokenizer.json made from it
    /// differently.
    pub fn tokenizer_digest(&self, bytes: &[u8]) -> String {
        match self {
            Self::Folder(_) => blake3::hash(bytes).to_hex().to_string(),
            Self::Gguf(gguf) => gguf.tokenizer_digest(),
        }
    }

    /// The path of the folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Gguf(gguf) => gguf.path(),
        }
    }
}

fn made(gguf: &Gguf, name: &str) -> Result<Option<Value>, LoadError> {
    match name {
        "config.json" => Ok(Some(gguf.config()?)),
        "generation_config.json" => Ok(Some(gguf.generation_config()?)),
        "tokenizer.json" => Ok(Some(gguf.tokenizer()?)),
        "tokenizer_config.json" => Ok(Some(gguf.tokenizer_config()?)),
        _ => Ok(None),
    }
}
