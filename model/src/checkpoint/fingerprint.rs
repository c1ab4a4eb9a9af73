//! The identity of a checkpoint, so that two nodes can tell cheaply whether they hold the same one.
//!
//! A full hash of a large checkpoint takes a minute at every start, so weights are sampled: the ends of each file,
//! and its header, which has every tensor's name, format and place. Copies and re-downloads agree; another training
//! run does not, because its last tensors differ. It is no protection against someone who forges weights on purpose.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::checkpoint::gguf;
use crate::checkpoint::weights::weight_files;
use crate::error::{ModelError, Result};

/// Bytes taken from each end of a file.
const SAMPLE_BYTES: u64 = 64 * 1024;
/// safetensors' own limit on a header.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// The BLAKE3 digest, in hexadecimal, of `config.json` and of each weight file's size, header, first and last 64 KiB.
pub fn fingerprint(dir: &Path) -> Result<String, ModelError> {
    let mut hasher = blake3::Hasher::new_derive_key("secateur checkpoint fingerprint v1");
    // A GGUF file has its configuration in its header.
    if gguf::file(dir)?.is_none() {
        let path = dir.join("config.json");
        let config = std::fs::read(&path).map_err(|source| ModelError::Io { path, source })?;
        part(&mut hasher, &config);
    }
    for path in weight_files(dir)? {
        add_file(&mut hasher, &path).map_err(|source| ModelError::Io { path, source })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn add_file(hasher: &mut blake3::Hasher, path: &Path) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    hasher.update(&len.to_le_bytes());
    part(hasher, &header(&mut file, len)?);
    part(hasher, &range(&mut file, 0, len.min(SAMPLE_BYTES))?);
    part(hasher, &range(&mut file, len.saturating_sub(SAMPLE_BYTES), len.min(SAMPLE_BYTES))?);
    Ok(())
}

/// A safetensors file begins with the header's length, eight bytes, little-endian.
fn header(file: &mut File, len: u64) -> std::io::Result<Vec<u8>> {
    let mut size = [0; 8];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut size)?;
    // A nonsensical length is for the loader to refuse; here it must only not exhaust memory.
    let size = u64::from_le_bytes(size).min(HEADER_BYTES_MAX).min(len.saturating_sub(8));
    range(file, 8, size)
}

fn range(file: &mut File, start: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Length first, so that moving bytes from one part to the next changes the digest.
fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(config: &str, weights: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), weights).unwrap();
        dir
    }

    fn of(config: &str, weights: &[u8]) -> String {
        fingerprint(checkpoint(config, weights).path()).unwrap()
    }

    #[test]
    fn a_copy_agrees_and_any_difference_at_the_ends_does_not() {
        let weights = vec![1u8; 300_000];
        let mut other_end = weights.clone();
        *other_end.last_mut().unwrap() = 2;
        assert_eq!(of("{}", &weights), of("{}", &weights));
        assert_ne!(of("{}", &weights), of("{ }", &weights));
        assert_ne!(of("{}", &weights), of("{}", &other_end));
        assert_ne!(of("{}", &weights), of("{}", &weights[..299_999]));
        assert_eq!(of("{}", &weights).len(), 64);
    }
}
