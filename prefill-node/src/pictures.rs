//! Pictures: decoding them, and remembering what they became, unpruned, by the digest of their bytes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use secateur_model::{ModelError, Picture, PictureLimits, VisualTokens};
use secateur_node::handshake::model_failure;
use secateur_proto::ServiceError;

use crate::prefix::PictureDigest;

/// Decodes encoded pictures; an error names the one at fault.
pub fn decode(encoded: &[Bytes]) -> Result<Vec<(PictureDigest, Picture)>, ServiceError> {
    let one = |(index, bytes): (usize, &Bytes)| {
        let picture = Picture::decode(bytes, &PictureLimits::default());
        let picture = picture
            .map_err(|error| model_failure(ModelError::Picture(error)).with_param(format!("images[{index}]")))?;
        Ok((*blake3::hash(bytes).as_bytes(), picture))
    };
    encoded.iter().enumerate().map(one).collect()
}

/// Least recently used goes first once more than so many bytes are held.
pub struct PictureCache {
    limit: usize,
    held: usize,
    clock: u64,
    entries: HashMap<PictureDigest, (u64, VisualTokens)>,
    ages: BTreeMap<u64, PictureDigest>,
}

impl PictureCache {
    /// A cache of at most `limit` bytes; 0 keeps nothing.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: 0, clock: 0, entries: HashMap::new(), ages: BTreeMap::new() }
    }

    /// The visual tokens of a picture that was seen before.
    pub fn get(&mut self, digest: &PictureDigest) -> Option<VisualTokens> {
        self.clock += 1;
        let (used, tokens) = self.entries.get_mut(digest)?;
        self.ages.remove(used);
        *used = self.clock;
        self.ages.insert(self.clock, *digest);
        Some(tokens.clone())
    }

    /// Remembers what a picture became.
    pub fn insert(&mut self, digest: PictureDigest, tokens: VisualTokens) {
        if bytes(&tokens) > self.limit || self.get(&digest).is_some() {
            return;
        }
        self.clock += 1;
        self.held += bytes(&tokens);
        self.ages.insert(self.clock, digest);
        self.entries.insert(digest, (self.clock, tokens));
        while self.held > self.limit {
            let Some((_, oldest)) = self.ages.pop_first() else { return };
            if let Some((_, tokens)) = self.entries.remove(&oldest) {
                self.held -= bytes(&tokens);
            }
        }
    }
}

fn bytes(tokens: &VisualTokens) -> usize {
    size_of_val(tokens.data())
}
