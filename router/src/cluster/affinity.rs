//! Remembers which pair served a prompt's prefix last: that pair may still hold its KV, in prefill's prefix cache and
//! in the KV that decode keeps of finished answers. Plain data, bounded; losing an entry costs time and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

/// Most prefixes that are remembered.
const ENTRIES_MAX: usize = 16_384;
/// Tokens between the ends of two prefixes; a prefix also ends after each picture.
const STRIDE: usize = 64;

/// Digest of a prompt's prefix.
pub type Prefix = [u8; 32];

/// Two nodes that served a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// Address of the prefill node.
    pub prefill: String,
    /// Address of the decode node.
    pub decode: String,
}

/// Prefixes and the pair that served each last; the least recently used entry is evicted first.
#[derive(Debug)]
pub struct Affinity {
    served: HashMap<Prefix, Served>,
    /// Prefixes by the time of their last use, oldest first. Holds each prefix once, under its `Served::turn`.
    turns: BTreeMap<u64, Prefix>,
    next_turn: u64,
    entries_max: usize,
}

#[derive(Debug)]
struct Served {
    by: Arc<Near>,
    turn: u64,
}

impl Default for Affinity {
    fn default() -> Self {
        Self::new(ENTRIES_MAX)
    }
}

impl Affinity {
    fn new(entries_max: usize) -> Self {
        Self { served: HashMap::new(), turns: BTreeMap::new(), next_turn: 0, entries_max }
    }

    /// The pair that served the longest known one of `prefixes` (shortest first, as [`prefixes`] gives them).
    pub fn nearest(&self, prefixes: &[Prefix]) -> Option<Near> {
        prefixes.iter().rev().find_map(|prefix| self.served.get(prefix)).map(|served| Near::clone(&served.by))
    }

    /// Records that the pair `by` now holds a prompt with these prefixes.
    pub fn record(&mut self, prefixes: &[Prefix], by: Near) {
        let by = Arc::new(by);
        // Longest first: short prefixes, which many prompts share, are then the most recently used and are evicted
        // last.
        for prefix in prefixes.iter().rev() {
            let turn = self.next_turn;
            self.next_turn += 1;
            if let Some(earlier) = self.served.insert(*prefix, Served { by: by.clone(), turn }) {
                self.turns.remove(&earlier.turn);
            }
            self.turns.insert(turn, *prefix);
            if self.served.len() > self.entries_max
                && let Some((_, oldest)) = self.turns.pop_first()
            {
                self.served.remove(&oldest);
            }
        }
    }
}

/// Digests of a prompt's prefixes, shortest first: a blake3 chain over the tokens, with each picture's own blake3 after
/// its image token. Takes time in proportion to the pictures, so do not call it on an async task.
pub fn prefixes<'a>(
    tokens: &[u32],
    image_token: Option<u32>,
    pictures: impl IntoIterator<Item = &'a Bytes>,
) -> Vec<Prefix> {
    let mut pictures = pictures.into_iter();
    let mut chain = blake3::Hasher::new();
    // Tokens are handed to the chain many at a time, which takes a fraction of the time of one by one.
    let mut unhashed = Vec::with_capacity(STRIDE * size_of::<u32>());
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        unhashed.extend_from_slice(&token.to_le_bytes());
        let picture = if Some(*token) == image_token { pictures.next() } else { None };
        if picture.is_none() && (index + 1) % STRIDE != 0 {
            continue;
        }
        chain.update(&unhashed);
        unhashed.clear();
        if let Some(picture) = picture {
            chain.update(blake3::hash(picture).as_bytes());
        }
        found.push(*chain.finalize().as_bytes());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(prefill: &str) -> Near {
        Near { prefill: prefill.into(), decode: "d".into() }
    }

    fn text(tokens: &[u32]) -> Vec<Prefix> {
        prefixes(tokens, None, [])
    }

    #[test]
    fn a_follow_up_begins_as_its_first_turn_did() {
        let turn: Vec<u32> = (0..200).collect();
        let follow_up: Vec<u32> = turn.iter().copied().chain([7; 90]).collect();
        let (first, second) = (text(&turn), text(&follow_up));
        assert_eq!((first.len(), second.len()), (3, 4));
        assert_eq!(first, second[..3]);
        let mut affinity = Affinity::default();
        assert_eq!(affinity.nearest(&second), None);
        affinity.record(&first, near("p0"));
        assert_eq!(affinity.nearest(&second), Some(near("p0")));
        affinity.record(&second, near("p1"));
        assert_eq!(affinity.nearest(&first), Some(near("p1")), "who served it last");
        assert!(text(&turn[..63]).is_empty());
    }

    #[test]
    fn the_longest_known_beginning_decides() {
        let (short, long): (Vec<u32>, Vec<u32>) = ((0..64).collect(), (0..128).collect());
        let mut affinity = Affinity::default();
        affinity.record(&text(&long), near("p0"));
        affinity.record(&text(&short), near("p1"));
        assert_eq!(affinity.nearest(&text(&long)), Some(near("p0")));
        assert_eq!(affinity.nearest(&text(&short)), Some(near("p1")));
    }

    #[test]
    fn pictures_are_part_of_it_and_end_a_prefix() {
        let (cat, dog) = (Bytes::from_static(b"cat"), Bytes::from_static(b"dog"));
        let tokens = [5, 9, 6, 9, 7];
        let of = |pictures: [&Bytes; 2]| prefixes(&tokens, Some(9), pictures);
        let (both, other) = (of([&cat, &dog]), of([&cat, &cat]));
        assert_eq!(both.len(), 2);
        assert_eq!(both[0], other[0]);
        assert_ne!(both[1], other[1]);
        assert_ne!(both[0], of([&dog, &dog])[0]);
    }

    #[test]
    fn a_prefix_is_the_digest_of_its_tokens_and_pictures() {
        let picture = Bytes::from_static(b"cat");
        let tokens: Vec<u32> = (0..150).map(|token| if token == 70 { 9_999 } else { token * 7 }).collect();
        let mut chain = blake3::Hasher::new();
        let mut expected = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            chain.update(&token.to_le_bytes());
            if *token == 9_999 {
                chain.update(blake3::hash(&picture).as_bytes());
            }
            if [63, 70, 127].contains(&index) {
                expected.push(*chain.finalize().as_bytes());
            }
        }
        assert_eq!(prefixes(&tokens, Some(9_999), [&picture]), expected);
    }

    #[test]
    fn the_least_recently_used_is_forgotten() {
        let mut affinity = Affinity::new(2);
        let [a, b, c] = [[1; 32], [2; 32], [3; 32]];
        affinity.record(&[a], near("a"));
        affinity.record(&[b], near("b"));
        affinity.record(&[a], near("a"));
        affinity.record(&[c], near("c"));
        assert_eq!((affinity.nearest(&[b]), affinity.nearest(&[a])), (None, Some(near("a"))));
        assert_eq!((affinity.served.len(), affinity.turns.len()), (2, 2));
    }
}
