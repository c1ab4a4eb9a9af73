//! Digests of whole files, computed piece by piece on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::checkpoint::open_file::OpenFile;
use crate::error::{ModelError, Result};

/// A BLAKE3 digest.
pub(crate) type Digest = [u8; 32];

/// Bytes that one thread hashes before it takes the next piece. Part of the digest's definition.
const PIECE_BYTES: u64 = 8 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Upper bound on threads; more would wait for memory, not for each other.
const THREADS_MAX: usize = 16;

/// The digest of each file's whole content: BLAKE3 of the file's length and of the digests of its pieces, in order.
pub(crate) fn of_files(files: &[&OpenFile]) -> Result<Vec<Digest>> {
    let mut sizes = Vec::with_capacity(files.len());
    for file in files {
        sizes.push(file.stamp()?.size);
    }
    let pieces = pieces(&sizes);
    let digests = hash_pieces(files, &sizes, &pieces)?;
    let mut hashers: Vec<blake3::Hasher> = sizes.iter().map(|size| file_hasher(*size)).collect();
    for ((file, _), digest) in pieces.iter().zip(&digests) {
        hashers[*file].update(digest);
    }
    Ok(hashers.iter().map(|hasher| *hasher.finalize().as_bytes()).collect())
}

fn file_hasher(size: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key("secateur file digest v1");
    hasher.update(&size.to_le_bytes());
    hasher
}

/// File and offset of every piece, in order.
fn pieces(sizes: &[u64]) -> Vec<(usize, u64)> {
    let of_file = |(file, size): (usize, &u64)| (0..size.div_ceil(PIECE_BYTES)).map(move |at| (file, at * PIECE_BYTES));
    sizes.iter().enumerate().flat_map(of_file).collect()
}

fn hash_pieces(files: &[&OpenFile], sizes: &[u64], pieces: &[(usize, u64)]) -> Result<Vec<Digest>> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(THREADS_MAX).min(pieces.len());
    let next = AtomicUsize::new(0);
    let digests = Mutex::new(vec![Digest::default(); pieces.len()]);
    let work = || -> Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(file, offset)) = pieces.get(index) else { return Ok(()) };
            let digest = hash_piece(files[file], offset, sizes[file], &mut buffer)?;
            digests.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[index] = digest;
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // Every thread is joined, and the first failure counts.
        let ended =
            running.into_iter().map(|thread| thread.join().unwrap_or(Err(ModelError::Defect { what: "hashing" })));
        ended.collect::<Vec<_>>().into_iter().collect::<Result<()>>()
    })?;
    Ok(digests.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

fn hash_piece(file: &OpenFile, offset: u64, size: u64, buffer: &mut [u8]) -> Result<Digest> {
    let end = size.min(offset + PIECE_BYTES);
    let mut hasher = blake3::Hasher::new();
    let mut at = offset;
    while at < end {
        let len = (end - at).min(buffer.len() as u64) as usize;
        let part = &mut buffer[..len];
        file.read_at(part, at)?;
        hasher.update(part);
        at += len as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn saved(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn every_byte_of_every_piece_counts() {
        let dir = tempfile::tempdir().unwrap();
        let of = |bytes: &[u8]| of_files(&[&OpenFile::open(&saved(&dir, "one", bytes)).unwrap()]).unwrap()[0];
        let piece = PIECE_BYTES as usize;
        let plain = vec![7; 2 * piece + 5];
        let whole = of(&plain);
        assert_eq!(of(&plain), whole);
        for at in [0, 1, piece - 1, piece, piece + piece / 2, 2 * piece - 1, 2 * piece, 2 * piece + 4] {
            let mut other = plain.clone();
            other[at] ^= 1;
            assert_ne!(of(&other), whole, "byte {at}");
        }
        for len in [0, 1, piece, 2 * piece, 2 * piece + 4] {
            assert_ne!(of(&plain[..len]), whole, "{len} bytes");
        }
        let mut swapped = plain.clone();
        swapped[..piece].fill(8);
        let first = of(&swapped);
        swapped[..2 * piece].rotate_left(piece);
        assert_ne!(of(&swapped), first, "the order of pieces");
    }

    #[test]
    fn files_have_digests_of_their_own_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [saved(&dir, "a", b"a"), saved(&dir, "none", b""), saved(&dir, "b", b"bb")];
        let files: Vec<OpenFile> = paths.iter().map(|path| OpenFile::open(path).unwrap()).collect();
        let all = of_files(&files.iter().collect::<Vec<_>>()).unwrap();
        let each: Vec<Digest> = files.iter().map(|file| of_files(&[file]).unwrap()[0]).collect();
        assert_eq!(all, each);
        assert!(of_files(&[]).unwrap().is_empty());
    }
}
