//! Digests: blake3 over the content of a frame, and over all frames of a shipment.

use bytes::Bytes;
use prost::Message;

use crate::manifest::Manifest;

/// A blake3 digest of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest as the bytes of a message field.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// Whether the bytes of a message field are this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes == self.0
    }
}

/// An incremental hasher.
#[derive(Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// Hasher for the digest in a shipment's closing frame: over the manifest as a message, the number of positions that
/// the receiver held, the digest of every frame, and the first token.
#[derive(Clone)]
pub struct Whole(Hasher);

impl Whole {
    /// Starts with the manifest and the number of positions that the receiver held.
    pub fn new(manifest: &Manifest, held: u32) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(&manifest.to_proto().encode_to_vec());
        hasher.update(&held.to_le_bytes());
        Self(hasher)
    }

    /// Adds the next frame's digest.
    pub fn frame(&mut self, digest: Digest) {
        self.0.update(&digest.0);
    }

    /// The digest of the whole shipment.
    pub fn close(&self, first_token: u32) -> Digest {
        let mut hasher = self.0.clone();
        hasher.update(&first_token.to_le_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let digest = |pieces: &[&str]| {
            let mut hasher = Hasher::default();
            pieces.iter().for_each(|piece| hasher.update(piece.as_bytes()));
            hasher.finish()
        };
        assert_eq!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["abc"]));
        assert!(digest(&["x"]).matches(&digest(&["x"]).to_bytes()));
        assert!(!digest(&["x"]).matches(b"short"));
    }
}
