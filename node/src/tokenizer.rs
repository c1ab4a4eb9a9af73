//! The tokenizer of a checkpoint: the name of its file, and its digest.

use std::path::Path;

use anyhow::Context;
use secateur_gguf::Gguf;

/// Tokenizer file in the checkpoint folder, read whole for its digest.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// blake3 of tokenizer.json, or of a GGUF file's tokenizer metadata, in hex; empty if the folder has no tokenizer.
pub(crate) fn tokenizer_digest(dir: &Path) -> anyhow::Result<String> {
    if let Some(file) = secateur_gguf::find(dir)? {
        return Ok(Gguf::open(&file)?.tokenizer_digest());
    }
    match std::fs::read(dir.join(TOKENIZER_FILE)) {
        Ok(bytes) => Ok(blake3::hash(&bytes).to_hex().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {TOKENIZER_FILE} of the checkpoint")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_tokenizer_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tokenizer_digest(dir.path()).unwrap(), "");
    }
}
