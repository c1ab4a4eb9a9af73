//! The documents of a checkpoint, by the names that they have in a Hugging Face folder: from the folder, or made from what a
//! GGUF file says.

use std::{
    io,
    path::{Path, PathBuf},
};

use secateur_gguf::Gguf;
use serde_json::Value;

use super::LoadError;

/// Where the documents of one checkpoint come from.
pub enum Documents {
    /// A folder in the Hugging Face layout.
    Folder(PathBuf),
    /// A GGUF file.
    Gguf(Gguf),
}

impl Documents {
    /// Those of the checkpoint at `path`.
    pub fn of(path: &Path) -> Result<Self, LoadError> {
        match secateur_gguf::find(path)? {
            Some(file) => Ok(Self::Gguf(Gguf::open(&file)?)),
            None => Ok(Self::Folder(path.to_owned())),
        }
    }

    /// The bytes of a document; none: there is no such document.
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

    /// A JSON document; null: there is no such document.
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

    /// What nodes and router compare, given the bytes of tokenizer.json. Those that are made of a GGUF file may be written
    /// otherwise by another version, so there it is what the file says.
    pub fn tokenizer_digest(&self, bytes: &[u8]) -> String {
        match self {
            Self::Folder(_) => blake3::hash(bytes).to_hex().to_string(),
            Self::Gguf(gguf) => gguf.tokenizer_digest(),
        }
    }

    /// The folder or the file.
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
