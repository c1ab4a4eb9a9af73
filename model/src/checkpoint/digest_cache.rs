//! Digests of large files, cached between starts: a file whose stamp is unchanged since it was hashed is not read
//! again.
//!
//! An entry is only made for a file that had not changed for [`REST`] when its hashing began. Any later write gives the
//! file a later time than the cached one, however coarse the file system's clock is, so a matching stamp means the same
//! content. (Writes through a shared mapping show in the file's times once its pages are written back, half a minute
//! later at most; [`REST`] is longer than that.)

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::checkpoint::digest::Digest;
use crate::checkpoint::open_file::Stamp;

/// How long a file must have been unchanged before its digest is cached.
const REST: Duration = Duration::from_secs(120);
/// Files smaller than this are not cached: hashing them is cheaper than the cache is worth.
const BYTES_MIN: u64 = 64 << 20;
/// Name of the cache file beside a checkpoint.
const BESIDE: &str = ".secateur-digests.json";
/// A cache file longer than this is ignored.
const CACHE_BYTES_MAX: u64 = 4 << 20;
const FORMAT: u32 = 1;

/// Cached digests of the files of one checkpoint.
#[derive(Debug)]
pub(crate) struct DigestCache {
    /// Paths where the cache may lie, in order of preference.
    places: Vec<PathBuf>,
    known: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    format: u32,
    files: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    name: String,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
    device: u64,
    /// BLAKE3 digest in hexadecimal.
    digest: String,
}

impl DigestCache {
    /// The cache of the checkpoint in `dir`, beside it or, failing that, in the user's cache folder.
    pub fn of_folder(dir: &Path) -> DigestCache {
        DigestCache::in_places(std::iter::once(dir.join(BESIDE)).chain(in_users_cache(dir)).collect())
    }

    fn in_places(places: Vec<PathBuf>) -> DigestCache {
        let known = places.iter().filter_map(|place| read(place)).flatten().collect();
        DigestCache { places, known }
    }

    /// The digest of the file called `name`, if its stamp is still the cached one.
    pub fn get(&self, name: &str, stamp: &Stamp) -> Option<Digest> {
        let entry = self.known.iter().find(|entry| entry.name == name && entry.stamp() == *stamp)?;
        Some(*blake3::Hash::from_hex(&entry.digest).ok()?.as_bytes())
    }

    /// Whether the digest of a file with this stamp may be cached once it is computed.
    pub fn takes(stamp: &Stamp, now: SystemTime) -> bool {
        let now_ns = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().cast_signed());
        stamp.size >= BYTES_MIN && now_ns - stamp.last_change_ns() > REST.as_nanos().cast_signed()
    }

    /// Caches the digests of exactly these files. If the cache cannot be written, the next start hashes the files
    /// again.
    pub fn keep(&self, files: impl IntoIterator<Item = (String, Stamp, Digest)>) {
        let files: Vec<Entry> =
            files.into_iter().map(|(name, stamp, digest)| Entry::new(name, &stamp, &digest)).collect();
        if files.is_empty() || files.iter().all(|file| self.known.contains(file)) {
            return;
        }
        let Ok(json) = serde_json::to_vec(&Stored { format: FORMAT, files }) else { return };
        let written = self.places.iter().find_map(|place| write(place, &json).err().map_or(Some(place), |_| None));
        match written {
            Some(place) => {
                tracing::debug!(place = %place.display(), "remembered the digests of the checkpoint's files")
            }
            None => tracing::debug!("no place to remember the digests of the checkpoint's files"),
        }
    }
}

impl Entry {
    fn new(name: String, stamp: &Stamp, digest: &Digest) -> Entry {
        let Stamp { size, modified_ns, changed_ns, inode, device } = *stamp;
        let digest = blake3::Hash::from_bytes(*digest).to_hex().to_string();
        Entry { name, size, modified_ns, changed_ns, inode, device, digest }
    }

    fn stamp(&self) -> Stamp {
        let Entry { size, modified_ns, changed_ns, inode, device, .. } = *self;
        Stamp { size, modified_ns, changed_ns, inode, device }
    }
}

/// The checkpoint's cache file in the user's cache folder, which the XDG base directory specification defines.
fn in_users_cache(dir: &Path) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    let dir = dir.canonicalize().ok()?;
    let name = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
    Some(caches.join("secateur").join("digests").join(format!("{}.json", &name[..32])))
}

fn read(place: &Path) -> Option<Vec<Entry>> {
    let mut json = Vec::new();
    fs::File::open(place).ok()?.take(CACHE_BYTES_MAX).read_to_end(&mut json).ok()?;
    let stored: Stored = serde_json::from_slice(&json).ok()?;
    (stored.format == FORMAT).then_some(stored.files)
}

/// Replaces the cache file atomically: another process sees the old cache or the new one, never a part.
fn write(place: &Path, json: &[u8]) -> std::io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let partial = folder.join(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&partial)
        .and_then(|mut file| file.write_all(json))
        .and_then(|()| fs::rename(&partial, place));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { size: BYTES_MIN, modified_ns: 5, changed_ns: 7, inode: 1, device: 2 };

    fn at(ns: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(ns)
    }

    #[test]
    fn a_file_is_known_by_name_and_every_part_of_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let place = || vec![dir.path().join(BESIDE)];
        DigestCache::in_places(place()).keep([("a".to_owned(), STAMP, [9; 32])]);
        let cache = DigestCache::in_places(place());
        assert_eq!(cache.get("a", &STAMP), Some([9; 32]));
        assert_eq!(cache.get("b", &STAMP), None);
        let others = [
            Stamp { size: STAMP.size + 1, ..STAMP },
            Stamp { modified_ns: 6, ..STAMP },
            Stamp { changed_ns: 8, ..STAMP },
            Stamp { inode: 3, ..STAMP },
            Stamp { device: 3, ..STAMP },
        ];
        assert!(others.iter().all(|stamp| cache.get("a", stamp).is_none()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing partial is left");
    }

    #[test]
    fn what_changed_lately_or_in_the_future_is_not_remembered() {
        let rest = REST.as_nanos() as u64;
        assert!(DigestCache::takes(&STAMP, at(8 + rest)));
        assert!(!DigestCache::takes(&STAMP, at(7 + rest)), "the later of the two times counts");
        assert!(!DigestCache::takes(&Stamp { modified_ns: i128::MAX / 2, ..STAMP }, at(8 + rest)));
        assert!(!DigestCache::takes(&Stamp { size: BYTES_MIN - 1, ..STAMP }, at(8 + rest)));
    }

    #[test]
    fn where_the_first_place_cannot_be_written_the_next_one_serves() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        // No user, root included, can make a folder where a file is.
        let places = || vec![dir.path().join("file").join(BESIDE), dir.path().join("cache").join("x.json")];
        DigestCache::in_places(places()).keep([("a".to_owned(), STAMP, [9; 32])]);
        assert_eq!(DigestCache::in_places(places()).get("a", &STAMP), Some([9; 32]));
    }

    #[test]
    fn a_damaged_cache_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(BESIDE);
        let get = || DigestCache::in_places(vec![place.clone()]).get("a", &STAMP);
        DigestCache::in_places(vec![place.clone()]).keep([("a".to_owned(), STAMP, [9; 32])]);
        assert!(get().is_some());
        let whole = fs::read_to_string(&place).unwrap();
        for damaged in [
            &whole[..whole.len() / 2],
            "",
            "[]",
            &whole.replace("\"format\":1", "\"format\":2"),
            &whole.replace("0909", "zz09"),
        ] {
            fs::write(&place, damaged).unwrap();
            assert_eq!(get(), None, "{damaged}");
        }
    }
}
