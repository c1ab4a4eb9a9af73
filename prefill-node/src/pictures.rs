//! Pictures: decoding them, and remembering what they became, unpruned, by the digest of their bytes.

use std::{
    collections::{BTreeMap, HashMap},
    panic::catch_unwind,
};

use bytes::Bytes;
use secateur_model::{ModelError, Picture, PictureLimits};
use secateur_node::handshake::model_failure;
use secateur_proto::{ErrorCode, ServiceError};

pub use secateur_node::prefix::PictureDigest;

/// Decodes encoded pictures; an error names the one at fault.
pub fn decode(encoded: &[Bytes]) -> Result<Vec<(PictureDigest, Picture)>, ServiceError> {
    let one = |(index, bytes): (usize, &Bytes)| {
        // A decoder that panics on a damaged file says no more than that it is damaged.
        let picture = catch_unwind(|| Picture::decode(bytes, &PictureLimits::default()))
            .map_err(|_| ServiceError::new(ErrorCode::InvalidImage, "the picture cannot be decoded"))
            .map_err(|error| error.with_param(format!("images[{index}]")))?;
        let picture = picture
            .map_err(|error| model_failure(ModelError::Picture(error)).with_param(format!("images[{index}]")))?;
        Ok((*blake3::hash(bytes).as_bytes(), picture))
    };
    encoded.iter().enumerate().map(one).collect()
}

/// What came of something, by its digest: what pictures became, what was chosen of them. The least recently used goes first
/// once more than so many bytes are held.
pub struct DigestCache<T> {
    limit: usize,
    held: usize,
    clock: u64,
    entries: HashMap<PictureDigest, Entry<T>>,
    ages: BTreeMap<u64, PictureDigest>,
}

struct Entry<T> {
    used: u64,
    bytes: usize,
    became: T,
}

impl<T: Clone> DigestCache<T> {
    /// A cache of at most `limit` bytes; 0 keeps nothing.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: 0, clock: 0, entries: HashMap::new(), ages: BTreeMap::new() }
    }

    /// What came of something that was there before.
    pub fn get(&mut self, digest: &PictureDigest) -> Option<T> {
        self.clock += 1;
        let entry = self.entries.get_mut(digest)?;
        self.ages.remove(&entry.used);
        entry.used = self.clock;
        self.ages.insert(self.clock, *digest);
        Some(entry.became.clone())
    }

    /// Remembers what came of something.
    pub fn insert(&mut self, digest: PictureDigest, became: T, bytes: usize) {
        if bytes > self.limit || self.get(&digest).is_some() {
            return;
        }
        self.clock += 1;
        self.held += bytes;
        self.ages.insert(self.clock, digest);
        self.entries.insert(digest, Entry { used: self.clock, bytes, became });
        while self.held > self.limit {
            let Some((_, oldest)) = self.ages.pop_first() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.held -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let mut cache = DigestCache::new(10);
        for name in 1..=3 {
            cache.insert([name; 32], name, 3);
        }
        assert_eq!(cache.get(&[1; 32]), Some(1));
        cache.insert([4; 32], 4, 3);
        assert_eq!([1, 2, 3, 4].map(|name| cache.get(&[name; 32]).is_some()), [true, false, true, true]);
        // What is larger than the cache does not empty it.
        cache.insert([5; 32], 5, 11);
        assert_eq!(cache.get(&[4; 32]), Some(4));
        assert_eq!(cache.held, 9);
    }

    #[test]
    fn an_undecodable_picture_is_named() {
        let error = decode(&[Bytes::from_static(b"no picture")]).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("images[0]"));
    }
}
