//! Decoding of pictures, and a cache of values by digest, such as the unpruned visual tokens of a picture.

use std::{
    collections::{BTreeMap, HashMap},
    panic::catch_unwind,
};

use bytes::Bytes;
use secateur_model::{ModelError, Picture, PictureLimits};
use secateur_node::handshake::model_failure;
use secateur_proto::{ErrorCode, ServiceError};
use secateur_pruning::PictureView;

pub use secateur_node::prefix::PictureDigest;

/// Decodes pictures for a vision tower that is shown `view` of each; an error names the index of the picture at fault.
/// The digest covers the view, so every cache treats another view of a picture as another picture.
pub fn decode(encoded: &[Bytes], view: PictureView) -> Result<Vec<(PictureDigest, Picture)>, ServiceError> {
    let one = |(index, bytes): (usize, &Bytes)| {
        // A panic of the decoder on a damaged file is reported as an undecodable picture.
        let picture = catch_unwind(|| Picture::decode(bytes, &PictureLimits::default()))
            .map_err(|_| ServiceError::new(ErrorCode::InvalidImage, "the picture cannot be decoded"))
            .map_err(|error| error.with_param(format!("images[{index}]")))?;
        let picture = picture
            .map_err(|error| model_failure(ModelError::Picture(error)).with_param(format!("images[{index}]")))?;
        Ok((digest(bytes, view), picture.with_view(view)))
    };
    encoded.iter().enumerate().map(one).collect()
}

fn digest(bytes: &[u8], view: PictureView) -> PictureDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(bytes);
    match view {
        PictureView::Whole => {}
        PictureView::Smaller(share) => {
            hasher.update(b"smaller").update(&share.to_le_bytes());
        }
        PictureView::Distinct => {
            hasher.update(b"distinct");
        }
    }
    *hasher.finalize().as_bytes()
}

/// An LRU cache of values by digest, bounded in bytes: visual tokens by the picture's digest, selections by the digest
/// of what they depend on.
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

    /// The value cached for `digest`, which becomes the most recently used.
    pub fn get(&mut self, digest: &PictureDigest) -> Option<T> {
        self.clock += 1;
        let entry = self.entries.get_mut(digest)?;
        self.ages.remove(&entry.used);
        entry.used = self.clock;
        self.ages.insert(self.clock, *digest);
        Some(entry.became.clone())
    }

    /// Caches a value of `bytes` bytes, evicting the least recently used ones. A value larger than the cache is not
    /// kept.
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
        // A value that is larger than the cache does not empty it.
        cache.insert([5; 32], 5, 11);
        assert_eq!(cache.get(&[4; 32]), Some(4));
        assert_eq!(cache.held, 9);
    }

    #[test]
    fn an_undecodable_picture_is_named() {
        let error = decode(&[Bytes::from_static(b"no picture")], PictureView::Whole).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("images[0]"));
    }
}
