//! Identity of a checkpoint, by which two nodes verify that they hold the same one. It covers every byte of the weights
//! and of the configuration, so copies and downloads agree, and a model with one merged or further trained tensor
//! differs.

use std::path::Path;
use std::time::SystemTime;

use crate::checkpoint::config::config_bytes;
use crate::checkpoint::digest::{self, Digest};
use crate::checkpoint::digest_cache::DigestCache;
use crate::checkpoint::files::weight_files;
use crate::checkpoint::open_file::{OpenFile, Stamp};
use crate::error::{ModelError, Result};

/// The BLAKE3 digest, in hexadecimal, of `config.json` and of every weights file of the checkpoint in `dir`, or
/// of a GGUF file.
pub fn fingerprint(dir: &Path) -> Result<String, ModelError> {
    let config = config_bytes(dir)?;
    let files = weight_files(dir)?.iter().map(|path| OpenFile::open(path)).collect::<Result<Vec<_>>>()?;
    of_files(dir, &config, &files)
}

/// The fingerprint of open files and of their configuration. `dir` is where their digests may be cached.
pub(crate) fn of_files(dir: &Path, config: &[u8], files: &[OpenFile]) -> Result<String> {
    let digests = digests(&DigestCache::of_folder(dir), files, SystemTime::now())?;
    let mut hasher = blake3::Hasher::new_derive_key("secateur checkpoint fingerprint v2");
    // The length comes first, so that moving bytes from one part to the next changes the digest.
    hasher.update(&(config.len() as u64).to_le_bytes());
    hasher.update(config);
    digests.iter().for_each(|digest| {
        hasher.update(digest);
    });
    Ok(hasher.finalize().to_hex().to_string())
}

/// The digest of each file, from the cache where the file's stamp is unchanged.
fn digests(cache: &DigestCache, files: &[OpenFile], now: SystemTime) -> Result<Vec<Digest>> {
    let stamps = files.iter().map(OpenFile::stamp).collect::<Result<Vec<Stamp>>>()?;
    let names: Vec<String> = files.iter().map(name).collect();
    let mut known: Vec<Option<Digest>> =
        names.iter().zip(&stamps).map(|(name, stamp)| cache.get(name, stamp)).collect();
    let unknown: Vec<usize> = (0..files.len()).filter(|&index| known[index].is_none()).collect();
    let hashed = digest::of_files(&unknown.iter().map(|&index| &files[index]).collect::<Vec<_>>())?;
    for (&index, digest) in unknown.iter().zip(hashed) {
        known[index] = Some(digest);
    }
    let digests: Vec<Digest> = known.into_iter().flatten().collect();
    let mut kept = Vec::new();
    for ((file, name), (stamp, digest)) in files.iter().zip(names).zip(stamps.iter().zip(&digests)) {
        // A file that changed during hashing may have been read half old and half new, so its digest is not cached.
        if DigestCache::takes(stamp, now) && file.stamp()? == *stamp {
            kept.push((name, *stamp, *digest));
        }
    }
    cache.keep(kept);
    Ok(digests)
}

fn name(file: &OpenFile) -> String {
    file.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn checkpoint(config: &str, weights: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        fs::write(dir.path().join("model.safetensors"), weights).unwrap();
        dir
    }

    fn of(config: &str, weights: &[u8]) -> String {
        fingerprint(checkpoint(config, weights).path()).unwrap()
    }

    #[test]
    fn a_copy_agrees_and_any_difference_does_not() {
        let weights = vec![1u8; 300_000];
        for at in [0, 100, 150_000, 299_999] {
            let mut other = weights.clone();
            other[at] = 2;
            assert_ne!(of("{}", &weights), of("{}", &other), "byte {at}");
        }
        assert_eq!(of("{}", &weights), of("{}", &weights));
        assert_ne!(of("{}", &weights), of("{ }", &weights));
        assert_ne!(of("{}", &weights), of("{}", &weights[..299_999]));
        assert_eq!(of("{}", &weights).len(), 64);
    }

    /// A large file of zeros, one of several, which takes no space on disk.
    fn large(dir: &Path, name: &str) -> OpenFile {
        let path = dir.join(name);
        fs::File::create(&path).unwrap().set_len(65 << 20).unwrap();
        OpenFile::open(&path).unwrap()
    }

    fn write_byte(dir: &Path, name: &str, at: u64) {
        use std::os::unix::fs::FileExt;
        fs::File::options().write(true).open(dir.join(name)).unwrap().write_all_at(b"x", at).unwrap();
    }

    #[test]
    fn a_remembered_digest_is_used_and_a_change_is_seen_in_spite_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = [large(dir.path(), "a"), large(dir.path(), "b")];
        let cache = || DigestCache::of_folder(dir.path());
        let rested = SystemTime::now() + Duration::from_secs(3600);
        let first = digests(&cache(), &files, rested).unwrap();
        let stamp = files[1].stamp().unwrap();
        assert_eq!(cache().get("b", &stamp), Some(first[1]));
        // A digest that matches no content shows that the answer came from the cache.
        cache().keep([("a".to_owned(), files[0].stamp().unwrap(), first[0]), ("b".to_owned(), stamp, [9; 32])]);
        assert_eq!(digests(&cache(), &files, rested).unwrap(), [first[0], [9; 32]]);
        write_byte(dir.path(), "b", 40 << 20);
        let changed = digests(&cache(), &files, rested).unwrap();
        assert_eq!(changed[0], first[0]);
        assert!(changed[1] != first[1] && changed[1] != [9; 32]);
    }

    #[test]
    fn a_file_that_changed_lately_is_hashed_again_even_if_its_times_do_not_tell() {
        let dir = tempfile::tempdir().unwrap();
        let files = [large(dir.path(), "a")];
        let now = SystemTime::now();
        let first = digests(&DigestCache::of_folder(dir.path()), &files, now).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is remembered");
        let before = files[0].stamp().unwrap();
        write_byte(dir.path(), "a", 40 << 20);
        // Sets the modification time back, as if the write fell into the same tick of the clock.
        fs::File::options()
            .write(true)
            .open(files[0].path())
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(before.modified_ns).unwrap()))
            .unwrap();
        assert_eq!(files[0].stamp().unwrap().modified_ns, before.modified_ns);
        assert_ne!(digests(&DigestCache::of_folder(dir.path()), &files, now).unwrap(), first);
    }
}
