//! One key as its operator describes it. Plain data.

use jiff::Timestamp;

use super::digest::KeyDigest;
use crate::request::Class;

/// Most characters of a key's name, which is a label of metrics.
const NAME_CHARS_MAX: usize = 64;
/// The rule of [`is_name`] in words.
pub const NAME_RULE: &str = "1 to 64 letters, digits, dots, underscores and hyphens";

/// Whether a key may have this name.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What the holder of a key may use; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a minute.
    pub tokens_per_minute: Option<u32>,
    /// Answers at once.
    pub concurrency: Option<u32>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// Name in metrics and logs.
    pub name: String,
    /// Digest of the key.
    pub digest: KeyDigest,
    /// Its limits.
    pub limits: Limits,
    /// Class of its requests.
    pub class: Class,
    /// Time from which the key is refused.
    pub expires: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "batch-jobs", "Team_1.x", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a b", "a\"", "ü", "a/b", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
