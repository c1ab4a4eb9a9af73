//! The file of keys on disk: read within bounds, at the start and again when its content changes.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    entry::KeyEntry,
    parse::{Mistakes, parse},
};

/// Most bytes of the file, enough for as many keys as there may be, with comments.
const BYTES_MAX: u64 = 1024 * 1024;

/// Reason why a file of keys cannot be used. Never contains a key or a digest.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("--api-keys-file: cannot read {}: {source}", path.display())]
    Read {
        /// Path as given.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The path leads to something else than a file.
    #[error("--api-keys-file: {} is not a file", path.display())]
    NoFile {
        /// Path as given.
        path: PathBuf,
    },
    /// The file is too large.
    #[error("--api-keys-file: {} is larger than {BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Path as given.
        path: PathBuf,
    },
    /// The file says something that cannot be meant.
    #[error("--api-keys-file: {}: {mistakes}", path.display())]
    Content {
        /// Path as given.
        path: PathBuf,
        /// All mistakes.
        mistakes: Mistakes,
    },
}

/// A file of keys, and what it held when it was last read. Contents are compared, not times: a file of the same length
/// may be written twice within one tick of a file system's clock.
#[derive(Debug)]
pub struct KeysFile {
    path: PathBuf,
    /// Digest of the content; `None` if the file could not be read.
    seen: Option<blake3::Hash>,
}

impl KeysFile {
    /// Reads the file.
    pub fn open(path: &Path) -> Result<(Self, Vec<KeyEntry>), KeysError> {
        let text = text(path)?;
        let entries = entries(&text, path)?;
        Ok((Self { path: path.to_owned(), seen: Some(blake3::hash(text.as_bytes())) }, entries))
    }

    /// Reads the file again. Returns `None` if nothing has changed since the last look, so that one broken file is one
    /// error.
    pub fn changed(&mut self) -> Option<Result<Vec<KeyEntry>, KeysError>> {
        match text(&self.path) {
            Ok(text) => {
                let now = Some(blake3::hash(text.as_bytes()));
                let is_new = std::mem::replace(&mut self.seen, now) != now;
                is_new.then(|| entries(&text, &self.path))
            }
            Err(error) => self.seen.take().map(|_| Err(error)),
        }
    }
}

/// Reads the text of a file of keys.
fn text(path: &Path) -> Result<String, KeysError> {
    let failed = |source| KeysError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(KeysError::NoFile { path: path.to_owned() });
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text)).map_err(failed)?;
    if read as u64 > BYTES_MAX { Err(KeysError::TooLarge { path: path.to_owned() }) } else { Ok(text) }
}

/// The keys in the text of the file at `path`.
fn entries(text: &str, path: &Path) -> Result<Vec<KeyEntry>, KeysError> {
    parse(text).map_err(|mistakes| KeysError::Content { path: path.to_owned(), mistakes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::digest::KeyDigest;

    fn names(change: Option<Result<Vec<KeyEntry>, KeysError>>) -> Option<Result<Vec<String>, String>> {
        let names = |entries: Vec<KeyEntry>| entries.into_iter().map(|entry| entry.name).collect();
        change.map(|read| read.map(names).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_change_is_told_once_and_a_broken_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let write = |name: &str| {
            let digest = KeyDigest::of(name).to_hex();
            std::fs::write(&path, format!("[[key]]\nname = \"{name}\"\nsha256 = \"{digest}\"\n")).unwrap();
        };
        write("a");
        let (mut file, entries) = KeysFile::open(&path).unwrap();
        assert_eq!((entries.len(), names(file.changed())), (1, None));
        write("b");
        assert_eq!(names(file.changed()), Some(Ok(vec!["b".to_owned()])));
        assert_eq!(names(file.changed()), None);
        std::fs::write(&path, "[[key]").unwrap();
        assert!(names(file.changed()).unwrap().unwrap_err().contains("line 1"));
        assert_eq!(names(file.changed()), None);
        std::fs::remove_file(&path).unwrap();
        assert!(names(file.changed()).unwrap().unwrap_err().contains("cannot read"));
        assert_eq!(names(file.changed()), None);
        write("b");
        assert_eq!(names(file.changed()), Some(Ok(vec!["b".to_owned()])), "it is back");
    }

    #[test]
    fn files_are_bounded_and_named_where_they_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let missing = text(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(missing.contains("--api-keys-file") && missing.contains("none.toml"), "{missing}");
        assert!(matches!(text(folder.path()), Err(KeysError::NoFile { .. })));
        let large = folder.path().join("large.toml");
        std::fs::write(&large, "#".repeat(BYTES_MAX as usize + 1)).unwrap();
        assert!(matches!(text(&large), Err(KeysError::TooLarge { .. })));
        std::fs::write(&large, [0xff, 0xfe]).unwrap();
        assert!(matches!(text(&large), Err(KeysError::Read { .. })));
    }
}
