//! The digest of a key, by which it is stored and found.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::ConstantTimeEq as _;

/// SHA-256 of a key. Keys are long random strings, so that nobody finds one by trying.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; SHA256_OUTPUT_LEN]);

impl KeyDigest {
    /// The digest of a key.
    pub fn of(key: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(bytes)
    }

    /// The digest that 64 hex digits in either case write.
    pub fn from_hex(hex: &str) -> Option<Self> {
        HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// The digest as 64 hex digits.
    pub fn to_hex(self) -> String {
        HEXLOWER_PERMISSIVE.encode(&self.0)
    }
}

impl PartialEq for KeyDigest {
    /// Takes constant time, so that timing does not tell how much of a digest is right.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyDigest(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = KeyDigest::of("abc");
        assert_eq!(digest.to_hex(), hex);
        assert!(KeyDigest::from_hex(hex) == Some(digest) && KeyDigest::from_hex(&hex.to_uppercase()) == Some(digest));
        assert!(KeyDigest::of("abd") != digest);
        for wrong in ["", &hex[1..], &hex[2..], &format!("{hex}00"), &hex.replace('b', "g")] {
            assert!(KeyDigest::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
