//! The demo checkpoint: embedded in this binary, unpacked once into the user's cache so that the roles can map it.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/", $name)))),+]
    };
}

/// Every file that serving needs; recipe, card and suite are only in the repository.
const FILES: &[(&str, &[u8])] = embedded![
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "sample.png",
    "secateur.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The folder's name, which is also the model's name towards clients.
const NAME: &str = "secateur-demo";

/// The checkpoint given to a command, a folder or a GGUF file; the demo if none was given.
pub fn unless_given(model: Option<&Path>) -> anyhow::Result<PathBuf> {
    match model {
        Some(dir) => Ok(std::path::absolute(dir)?),
        None => unpack(),
    }
}

/// Unpacks the checkpoint unless that was done before, and returns its folder.
fn unpack() -> anyhow::Result<PathBuf> {
    unpack_into(&cache_root())
}

fn unpack_into(root: &Path) -> anyhow::Result<PathBuf> {
    // The digest is in the path, so versions of this binary do not interfere with each other.
    let parent = root.join(&digest()[..16]);
    let dir = parent.join(NAME);
    if is_whole(&dir) {
        return Ok(dir);
    }
    let context = || format!("cannot unpack the demo checkpoint into {}", parent.display());
    fs::create_dir_all(&parent).with_context(context)?;
    let staging = tempfile::tempdir_in(&parent).with_context(context)?;
    for (name, bytes) in FILES {
        fs::write(staging.path().join(name), bytes).with_context(context)?;
    }
    put_in_place(&staging.keep(), &dir).with_context(context)?;
    Ok(dir)
}

/// Renames the folder into place, so that no process ever sees half a checkpoint; another process may have been faster.
fn put_in_place(staging: &Path, dir: &Path) -> io::Result<()> {
    if dir.exists() && !is_whole(dir) {
        fs::remove_dir_all(dir)?;
    }
    match fs::rename(staging, dir) {
        Ok(()) => Ok(()),
        Err(_) if is_whole(dir) => fs::remove_dir_all(staging),
        Err(error) => Err(error),
    }
}

fn is_whole(dir: &Path) -> bool {
    FILES
        .iter()
        .all(|(name, bytes)| fs::read(dir.join(name)).is_ok_and(|found| blake3::hash(&found) == blake3::hash(bytes)))
}

fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in FILES {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

fn cache_root() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir);
    base.join("secateur")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unpacked_once_and_mended_when_damaged() {
        let root = tempfile::tempdir().unwrap();
        let dir = unpack_into(root.path()).unwrap();
        assert_eq!(dir.file_name().unwrap(), NAME);
        let config = dir.join("config.json");
        let whole = fs::read(&config).unwrap();
        fs::write(&config, b"{").unwrap();
        assert_eq!(unpack_into(root.path()).unwrap(), dir);
        assert_eq!(fs::read(&config).unwrap(), whole);
        // No other file is left behind.
        assert_eq!(fs::read_dir(dir.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_checkpoint_stays_small() {
        let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < 32 << 20, "{bytes}");
    }
}
