//! Payload digests: blake3 over a layer's payload bytes.

use bytes::Bytes;

/// 32 bytes of blake3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a payload that lies in pieces.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(piece);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// For the closing frame.
    pub fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// Whether the closing frame's bytes are this digest.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        bytes == self.0
    }
}

/// A digest that grows with the pieces of a payload.
#[derive(Default)]
pub struct Running(blake3::Hasher);

impl Running {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces so far; starts again.
    pub fn finish(&mut self) -> Digest {
        let digest = Digest(*self.0.finalize().as_bytes());
        self.0.reset();
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let mut running = Running::default();
        running.update(b"ab");
        running.update(b"c");
        let digest = running.finish();
        assert_eq!(digest, Digest::of([&b"a"[..], b"bc"]));
        assert!(digest.matches(&digest.to_bytes()));
        assert!(!digest.matches(b"short"));
        assert_eq!(running.finish(), Digest::of([]));
    }
}
