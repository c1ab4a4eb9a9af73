//! Pictures fetched lately, by URL. Plain data, bounded in bytes and in time; losing an entry costs a download.
//!
//! Pictures are kept by digest, so that the many URLs that a store signs for one picture hold its bytes once.

use std::{
    collections::{HashMap, hash_map},
    time::Duration,
};

use bytes::Bytes;
use lru::LruCache;
use tokio::time::Instant;

/// Time for which a URL is taken to mean the same picture.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Bytes that an entry takes besides its URL and its picture.
const ENTRY_BYTES: usize = 256;

/// A picture and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Digest of the bytes.
    pub digest: blake3::Hash,
    /// The picture, encoded.
    pub bytes: Bytes,
}

/// The cache. The entry that was not used for longest is evicted first.
#[derive(Debug)]
pub struct Cache {
    bytes_max: usize,
    bytes: usize,
    urls: LruCache<String, Known>,
    pictures: HashMap<blake3::Hash, Kept>,
}

/// What a URL stands for, and until when.
#[derive(Debug)]
struct Known {
    digest: blake3::Hash,
    until: Instant,
}

/// A picture, and the number of URLs that stand for it.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    urls: usize,
}

impl Cache {
    /// A cache of at most `bytes_max` bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, urls: LruCache::unbounded(), pictures: HashMap::new() }
    }

    /// The picture at a URL, if it is known and not too old.
    pub fn get(&mut self, url: &str, now: Instant) -> Option<Bytes> {
        let known = self.urls.get(url)?;
        if known.until <= now {
            self.forget(url);
            return None;
        }
        self.pictures.get(&known.digest).map(|kept| kept.bytes.clone())
    }

    /// Keeps the picture that was fetched from a URL. One that is larger than the cache is not kept.
    pub fn insert(&mut self, url: &str, found: &Found, now: Instant) {
        self.forget(url);
        if entry_bytes(url) + found.bytes.len() > self.bytes_max {
            return;
        }
        match self.pictures.entry(found.digest) {
            hash_map::Entry::Occupied(mut kept) => kept.get_mut().urls += 1,
            hash_map::Entry::Vacant(place) => {
                self.bytes += found.bytes.len();
                place.insert(Kept { bytes: found.bytes.clone(), urls: 1 });
            }
        }
        self.bytes += entry_bytes(url);
        self.urls.put(url.to_owned(), Known { digest: found.digest, until: now + KEPT_FOR });
        while self.bytes > self.bytes_max {
            let Some((oldest, known)) = self.urls.pop_lru() else { return };
            self.release(&oldest, &known);
        }
    }

    fn forget(&mut self, url: &str) {
        if let Some(known) = self.urls.pop(url) {
            self.release(url, &known);
        }
    }

    /// Gives back what an entry held that is no longer listed.
    fn release(&mut self, url: &str, known: &Known) {
        self.bytes -= entry_bytes(url);
        if let hash_map::Entry::Occupied(mut kept) = self.pictures.entry(known.digest) {
            kept.get_mut().urls -= 1;
            if kept.get().urls == 0 {
                self.bytes -= kept.remove().bytes.len();
            }
        }
    }
}

fn entry_bytes(url: &str) -> usize {
    url.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(byte: u8, length: usize) -> Found {
        let bytes = Bytes::from(vec![byte; length]);
        Found { digest: blake3::hash(&bytes), bytes }
    }

    #[test]
    fn a_picture_is_known_for_a_while() {
        let (mut cache, now) = (Cache::new(100_000), Instant::now());
        cache.insert("a", &found(1, 1_000), now);
        assert_eq!(cache.get("a", now + KEPT_FOR - Duration::from_secs(1)).unwrap(), found(1, 1_000).bytes);
        assert_eq!(cache.get("b", now), None);
        assert_eq!(cache.get("a", now + KEPT_FOR), None);
        assert_eq!((cache.bytes, cache.urls.len(), cache.pictures.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let (mut cache, now) = (Cache::new(4_000), Instant::now());
        for (url, byte) in [("a", 1), ("b", 2), ("c", 3)] {
            cache.insert(url, &found(byte, 1_000), now);
        }
        assert!(cache.get("a", now).is_some());
        cache.insert("d", &found(4, 1_000), now);
        assert_eq!(["a", "b", "c", "d"].map(|url| cache.get(url, now).is_some()), [true, false, true, true]);
        cache.insert("e", &found(5, 4_000), now);
        assert!(cache.get("e", now).is_none() && cache.get("d", now).is_some(), "too large for it");
        assert!(cache.bytes <= 4_000);
    }

    #[test]
    fn urls_of_one_picture_hold_it_once() {
        let (mut cache, now) = (Cache::new(100_000), Instant::now());
        for index in 0..10 {
            cache.insert(&format!("a?signature={index}"), &found(1, 9_000), now);
        }
        assert!(cache.bytes < 9_000 + 10 * 300, "{}", cache.bytes);
        assert_eq!(cache.pictures.len(), 1);
        cache.insert("a?signature=0", &found(2, 9_000), now);
        assert_eq!(cache.get("a?signature=0", now).unwrap()[0], 2, "what came last counts");
        assert_eq!(cache.get("a?signature=1", now).unwrap()[0], 1);
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let (mut cache, now) = (Cache::new(0), Instant::now());
        cache.insert("a", &found(1, 0), now);
        assert_eq!(cache.get("a", now), None);
    }
}
