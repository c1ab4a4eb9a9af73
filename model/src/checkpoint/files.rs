//! The files that a checkpoint's weights lie in.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::checkpoint::{gguf, json};
use crate::error::{ModelError, Result};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    /// Maps stored tensor names to file names.
    weight_map: HashMap<String, String>,
}

/// The checkpoint's weights files, in a fixed order: safetensors files, or the one GGUF file.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    if let Some(file) = gguf::file(dir)? {
        return Ok(vec![file]);
    }
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let path = dir.join(INDEX);
    let index: Index = json::read(&path)?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    for file in &files {
        // A name such as `../../etc/passwd` in a downloaded index must not lead out of the folder.
        if Path::new(file).file_name() != Some(file.as_ref()) {
            return Err(ModelError::Weights { path, problem: format!("`{file}` is not a plain file name") });
        }
    }
    Ok(files.into_iter().map(|file| dir.join(file)).collect())
}
