//! A weights file, opened once: hashing and mapping see the same file, even if its name later refers to another.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;

use crate::error::{ModelError, Result};

/// An open file of a checkpoint.
#[derive(Debug)]
pub(crate) struct OpenFile {
    path: PathBuf,
    file: File,
}

/// File system metadata that identifies a file's content. A file that is written to, replaced or copied gets another
/// stamp, except for a write within the resolution of its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// Last change of content, name or permissions, in nanoseconds since 1970. Programs cannot set it.
    pub changed_ns: i128,
    pub inode: u64,
    pub device: u64,
}

impl OpenFile {
    /// Opens a file for reading.
    pub fn open(path: &Path) -> Result<OpenFile> {
        let file = File::open(path).map_err(|source| ModelError::Io { path: path.into(), source })?;
        Ok(OpenFile { path: path.into(), file })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's current stamp.
    pub fn stamp(&self) -> Result<Stamp> {
        Ok(Stamp::of(&self.file.metadata().map_err(|source| self.unreadable(source))?))
    }

    /// Fills `into` with the bytes from `offset` on.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(into, offset).map_err(|source| self.unreadable(source))
    }

    /// Maps the whole file.
    pub fn map(&self) -> Result<Bytes> {
        // SAFETY: the mapping is only read. A checkpoint that is overwritten in place while a process serves it would
        // give wrong weights or a bus error; replacing the file (rename) is safe, since the mapping keeps the old one.
        let map = unsafe { Mmap::map(&self.file) }.map_err(|source| self.unreadable(source))?;
        Ok(Bytes::from_owner(map))
    }

    fn unreadable(&self, source: std::io::Error) -> ModelError {
        ModelError::Io { path: self.path.clone(), source }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Stamp {
            size: metadata.len(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    /// Time of the last change of content or attributes, in nanoseconds since 1970.
    pub fn last_change_ns(&self) -> i128 {
        self.modified_ns.max(self.changed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_stays_what_it_was_when_its_name_goes_to_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("weights"), dir.path().join("other"));
        std::fs::write(&path, b"first").unwrap();
        let file = OpenFile::open(&path).unwrap();
        std::fs::write(&other, b"other").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let mut read = [0; 5];
        file.read_at(&mut read, 0).unwrap();
        assert_eq!((&read, &file.map().unwrap()[..]), (b"first", &b"first"[..]));
        assert_ne!(file.stamp().unwrap(), OpenFile::open(&path).unwrap().stamp().unwrap());
    }
}
