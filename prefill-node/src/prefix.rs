//! The prefix cache: finished KV blocks by what they were computed from. Plain data; what a block is, is the caller's.
//!
//! A block's key is the digest of every row up to its end: token ids, and for visual tokens the picture's digest and the
//! token's place in the picture. So two prompts share a block exactly when all that its KV depends on is the same; the
//! visual policy counts through the tokens that it kept.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use secateur_model::{BLOCK_POSITIONS, PromptRow};

/// Digest of everything up to the end of a block.
pub type Key = [u8; 32];

/// Digest of a picture's bytes.
pub type PictureDigest = [u8; 32];

/// The keys of a prompt's full blocks, in order.
pub fn keys(rows: &[PromptRow], pictures: &[PictureDigest]) -> Vec<Key> {
    let mut hasher = blake3::Hasher::new();
    rows.chunks_exact(BLOCK_POSITIONS)
        .map(|block| {
            for row in block {
                match *row {
                    PromptRow::Token(token) => {
                        hasher.update(&[0]).update(&token.to_le_bytes());
                    }
                    // Where a picture begins counts: the same one twice in a row is not the same as once.
                    PromptRow::Visual { picture, row, origin } => {
                        hasher
                            .update(&[1 + u8::from(row == 0)])
                            .update(&pictures[picture as usize])
                            .update(&origin.to_le_bytes());
                    }
                }
            }
            *hasher.finalize().as_bytes()
        })
        .collect()
}

/// When an entry was used, and how deep in its prompt it is: of those used together, the deepest goes first.
type Age = (u64, Reverse<usize>, Key);

struct Entry<B> {
    block: B,
    used: u64,
    depth: usize,
}

/// Blocks by key, with the order in which they were used.
pub struct PrefixCache<B> {
    entries: HashMap<Key, Entry<B>>,
    ages: BTreeMap<Age, ()>,
    clock: u64,
}

impl<B> Default for PrefixCache<B> {
    fn default() -> Self {
        Self { entries: HashMap::new(), ages: BTreeMap::new(), clock: 0 }
    }
}

impl<B: Clone> PrefixCache<B> {
    /// The blocks of the longest known prefix.
    pub fn lookup(&mut self, keys: &[Key]) -> Vec<B> {
        self.clock += 1;
        let mut found = Vec::new();
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { break };
            self.ages.remove(&(entry.used, Reverse(entry.depth), *key));
            entry.used = self.clock;
            self.ages.insert((entry.used, Reverse(entry.depth), *key), ());
            found.push(entry.block.clone());
        }
        found
    }

    /// Remembers the blocks of a prompt. What is known already stays.
    pub fn insert(&mut self, keys: &[Key], blocks: &[B]) {
        self.clock += 1;
        for (depth, (key, block)) in keys.iter().zip(blocks).enumerate() {
            let entry = self.entries.entry(*key);
            let entry = entry.or_insert_with(|| Entry { block: block.clone(), used: self.clock, depth });
            // A prompt's beginning is as young as its end, so that it is not forgotten first.
            self.ages.remove(&(entry.used, Reverse(entry.depth), *key));
            entry.used = self.clock;
            self.ages.insert((entry.used, Reverse(entry.depth), *key), ());
        }
    }

    /// Forgets the block that has not been used for the longest time, of those that nobody else holds. False: there is
    /// none.
    pub fn evict(&mut self, is_unused: impl Fn(&B) -> bool) -> bool {
        let unused = |age: &&Age| self.entries.get(&age.2).is_some_and(|entry| is_unused(&entry.block));
        let Some(age) = self.ages.keys().find(unused).copied() else { return false };
        self.ages.remove(&age);
        self.entries.remove(&age.2);
        true
    }

    /// How many blocks there are that nobody else holds.
    pub fn unused(&self, is_unused: impl Fn(&B) -> bool) -> usize {
        self.entries.values().filter(|entry| is_unused(&entry.block)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn text(tokens: std::ops::Range<u32>) -> Vec<PromptRow> {
        tokens.map(PromptRow::Token).collect()
    }

    #[test]
    fn keys_depend_on_everything_before_them() {
        let long = keys(&text(0..50), &[]);
        assert_eq!(long.len(), 3);
        assert_eq!(keys(&text(0..32), &[]), long[..2]);
        let mut other = text(0..50);
        other[0] = PromptRow::Token(99);
        assert!(keys(&other, &[]).iter().zip(&long).all(|(a, b)| a != b));
    }

    #[test]
    fn visual_rows_are_known_by_picture_and_place() {
        let rows = |origin: u32| -> Vec<PromptRow> {
            (0..16).map(|row| PromptRow::Visual { picture: 0, row, origin: origin + row }).collect()
        };
        let (one, two) = ([1; 32], [2; 32]);
        assert_ne!(keys(&rows(0), &[one]), keys(&rows(0), &[two]));
        assert_ne!(keys(&rows(0), &[one]), keys(&rows(1), &[one]));
        // Which picture of the prompt it is does not matter.
        let second: Vec<PromptRow> = (0..16).map(|row| PromptRow::Visual { picture: 1, row, origin: row }).collect();
        assert_eq!(keys(&second, &[two, one]), keys(&rows(0), &[one]));
    }

    #[test]
    fn the_longest_prefix_is_found() {
        let mut cache = PrefixCache::default();
        let known = keys(&text(0..48), &[]);
        cache.insert(&known, &["a", "b", "c"]);
        let mut asked = text(0..48);
        asked[40] = PromptRow::Token(77);
        assert_eq!(cache.lookup(&keys(&asked, &[])), ["a", "b"]);
        assert!(cache.lookup(&keys(&text(1..40), &[])).is_empty());
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_deepest_of_a_prompt() {
        let mut cache = PrefixCache::default();
        let (old, new) = (keys(&text(0..32), &[]), keys(&text(100..132), &[]));
        cache.insert(&old, &["old 0", "old 1"].map(Arc::new));
        cache.insert(&new, &["new 0", "new 1"].map(Arc::new));
        let free = |block: &Arc<&str>| Arc::strong_count(block) == 1;
        assert_eq!(cache.unused(free), 4);
        assert!(cache.evict(free));
        assert_eq!(cache.lookup(&old).len(), 1);
        // Looking it up made the other one the oldest, but what is held stays.
        let held = cache.lookup(&new);
        let _old = cache.lookup(&old).is_empty();
        assert!(cache.evict(free));
        assert_eq!(cache.lookup(&old).len(), 0);
        assert!(!cache.evict(free));
        drop(held);
        assert!(cache.evict(free) && cache.evict(free) && !cache.evict(free));
    }
}
