//! The prefix cache: finished KV blocks, keyed by the rows that they were computed from. Plain data without locks,
//! generic over the block type.
//!
//! A block's key is the digest of every row up to its end: token ids, and for visual tokens the picture's digest and
//! the token's place in the picture. So two prompts share a block exactly when everything that its KV depends on is the
//! same; the visual policy enters through the tokens that it kept.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use secateur_model::{BLOCK_POSITIONS, PromptRow};

/// Digest of all rows of a prompt up to the end of a block.
pub type Key = [u8; 32];

/// Digest of a picture's bytes.
pub type PictureDigest = [u8; 32];

/// The keys of a prompt's full blocks, in order. `computed_as` names the number formats of the computation, on which KV
/// depends as it does on the prompt.
pub fn keys(computed_as: &str, rows: &[PromptRow], pictures: &[PictureDigest]) -> Vec<Key> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(computed_as.len() as u64).to_le_bytes()).update(computed_as.as_bytes());
    rows.chunks_exact(BLOCK_POSITIONS)
        .map(|block| {
            for row in block {
                match *row {
                    PromptRow::Token(token) => {
                        hasher.update(&[0]).update(&token.to_le_bytes());
                    }
                    // The first row of a picture has its own tag, so that the same picture twice in a row differs from
                    // once.
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

/// Eviction order of an entry: time of its last use, then its depth in the prompt, so that of entries used together the
/// deepest is evicted first.
type Age = (u64, Reverse<usize>, Key);

struct Entry<B> {
    block: B,
    used: u64,
    depth: usize,
    /// Number of prompts that compute with this block or ship it.
    users: usize,
}

impl<B> Entry<B> {
    fn age(&self, key: Key) -> Age {
        (self.used, Reverse(self.depth), key)
    }
}

/// Reference-counted KV blocks by key. A block that is in use stays until it was given back as often as it was taken.
pub struct PrefixCache<B> {
    entries: HashMap<Key, Entry<B>>,
    /// Entries without users, in eviction order.
    idle: BTreeSet<Age>,
    clock: u64,
}

impl<B> Default for PrefixCache<B> {
    fn default() -> Self {
        Self { entries: HashMap::new(), idle: BTreeSet::new(), clock: 0 }
    }
}

impl<B: Clone> PrefixCache<B> {
    /// Takes the blocks of the longest cached prefix. The result has one block for each of the first keys, up to the
    /// first key that is unknown.
    pub fn take(&mut self, keys: &[Key]) -> Vec<B> {
        self.clock += 1;
        let mut found = Vec::new();
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { break };
            if entry.users == 0 {
                self.idle.remove(&entry.age(*key));
            }
            (entry.users, entry.used) = (entry.users + 1, self.clock);
            found.push(entry.block.clone());
        }
        found
    }

    /// Adds the blocks of a prompt. Blocks that are cached already stay as they are; the keys of the newly added blocks
    /// are returned, and those blocks count as taken.
    pub fn insert(&mut self, keys: &[Key], blocks: &[B]) -> Vec<Key> {
        self.clock += 1;
        let mut new = Vec::new();
        for (depth, (key, block)) in keys.iter().zip(blocks).enumerate() {
            let entry = self.entries.entry(*key).or_insert_with(|| {
                new.push(*key);
                Entry { block: block.clone(), used: self.clock, depth, users: 1 }
            });
            // A prompt's first blocks get the age of its last, so that they are not evicted before it.
            let before = entry.age(*key);
            entry.used = self.clock;
            if entry.users == 0 {
                self.idle.remove(&before);
                self.idle.insert(entry.age(*key));
            }
        }
        new
    }

    /// Gives back blocks that were taken or newly inserted.
    pub fn give_back(&mut self, keys: &[Key]) {
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            entry.users -= 1;
            if entry.users == 0 {
                self.idle.insert(entry.age(*key));
            }
        }
    }

    /// Evicts the least recently used of the blocks without users. `None` if every block is in use.
    pub fn evict(&mut self) -> Option<B> {
        let (_, _, key) = self.idle.pop_first()?;
        self.entries.remove(&key).map(|entry| entry.block)
    }

    /// Number of blocks without users, which can be evicted.
    pub fn idle(&self) -> usize {
        self.idle.len()
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
        let long = keys("f32", &text(0..50), &[]);
        assert_eq!(long.len(), 3);
        assert_eq!(keys("f32", &text(0..32), &[]), long[..2]);
        let mut other = text(0..50);
        other[0] = PromptRow::Token(99);
        assert!(keys("f32", &other, &[]).iter().zip(&long).all(|(a, b)| a != b));
    }

    #[test]
    fn visual_rows_are_known_by_picture_and_place() {
        let rows = |origin: u32| -> Vec<PromptRow> {
            (0..16).map(|row| PromptRow::Visual { picture: 0, row, origin: origin + row }).collect()
        };
        let (one, two) = ([1; 32], [2; 32]);
        assert_ne!(keys("f32", &rows(0), &[one]), keys("f32", &rows(0), &[two]));
        assert_ne!(keys("f32", &rows(0), &[one]), keys("bf16", &rows(0), &[one]));
        assert_ne!(keys("f32", &rows(0), &[one]), keys("f32", &rows(1), &[one]));
        // The index of the picture within the prompt does not matter.
        let second: Vec<PromptRow> = (0..16).map(|row| PromptRow::Visual { picture: 1, row, origin: row }).collect();
        assert_eq!(keys("f32", &second, &[two, one]), keys("f32", &rows(0), &[one]));
    }

    #[test]
    fn the_longest_prefix_is_found() {
        let mut cache = PrefixCache::default();
        let known = keys("f32", &text(0..48), &[]);
        cache.insert(&known, &["a", "b", "c"]);
        let mut asked = text(0..48);
        asked[40] = PromptRow::Token(77);
        assert_eq!(cache.take(&keys("f32", &asked, &[])), ["a", "b"]);
        assert!(cache.take(&keys("f32", &text(1..40), &[])).is_empty());
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_deepest_of_a_prompt() {
        let mut cache = PrefixCache::default();
        let (old, new) = (keys("f32", &text(0..32), &[]), keys("f32", &text(100..132), &[]));
        assert_eq!(cache.insert(&old, &["old 0", "old 1"]), old);
        assert_eq!(cache.insert(&new, &["new 0", "new 1"]), new);
        assert_eq!(cache.evict(), None, "the prompts are still being shipped");
        cache.give_back(&new);
        cache.give_back(&old);
        assert_eq!((cache.idle(), cache.evict()), (4, Some("old 1")));
        // Taking `new` made `old` the least recently used, but its block that is in use stays.
        assert_eq!(cache.take(&new).len(), 2);
        assert_eq!(cache.take(&old).len(), 1);
        cache.give_back(&old[..1]);
        assert_eq!((cache.evict(), cache.evict()), (Some("old 0"), None));
        cache.give_back(&new);
        assert_eq!([cache.evict(), cache.evict(), cache.evict()], [Some("new 1"), Some("new 0"), None]);
    }

    /// Reference implementation of the cache: a linear scan over `Arc` reference counts.
    #[derive(Default)]
    struct Naive {
        entries: Vec<(Key, u64, usize, Arc<u32>)>,
        clock: u64,
    }

    impl Naive {
        fn take(&mut self, keys: &[Key]) -> Vec<Arc<u32>> {
            self.clock += 1;
            let clock = self.clock;
            let one = |key: &Key| {
                let entry = self.entries.iter_mut().find(|entry| entry.0 == *key)?;
                entry.1 = clock;
                Some(entry.3.clone())
            };
            keys.iter().map_while(one).collect()
        }

        fn insert(&mut self, keys: &[Key], blocks: &[Arc<u32>]) {
            self.clock += 1;
            for (depth, (key, block)) in keys.iter().zip(blocks).enumerate() {
                match self.entries.iter_mut().find(|entry| entry.0 == *key) {
                    Some(entry) => entry.1 = self.clock,
                    None => self.entries.push((*key, self.clock, depth, block.clone())),
                }
            }
        }

        fn unused(&self) -> impl Iterator<Item = usize> + '_ {
            (0..self.entries.len()).filter(|&at| Arc::strong_count(&self.entries[at].3) == 1)
        }

        fn evict(&mut self) -> Option<u32> {
            let age = |at: &usize| (self.entries[*at].1, Reverse(self.entries[*at].2), self.entries[*at].0);
            let oldest = self.unused().min_by_key(age)?;
            Some(*self.entries.remove(oldest).3)
        }
    }

    /// A prompt that is being computed or shipped, with what it holds in either cache.
    struct Prompt {
        keys: Vec<Key>,
        taken: Vec<Key>,
        blocks: Vec<u32>,
        held: Vec<Arc<u32>>,
    }

    proptest::proptest! {
        #[test]
        fn it_is_the_naive_cache(steps in proptest::collection::vec((0..4u8, 0..6u32, 0..6usize), 0..200)) {
            let (mut cache, mut naive) = (PrefixCache::default(), Naive::default());
            let mut prompts: Vec<Prompt> = Vec::new();
            let mut made = 0;
            for (step, number, len) in steps {
                match step {
                    // A prompt begins; it may share its first rows with another prompt.
                    0 => {
                        let mut rows = text(number / 2..number / 2 + 32);
                        rows.extend(text(number * 1_000..number * 1_000 + 16 * len as u32));
                        let keys = keys("f32", &rows, &[]);
                        let blocks = cache.take(&keys);
                        let held = naive.take(&keys);
                        proptest::prop_assert!(blocks.iter().eq(held.iter().map(|block| &**block)));
                        let taken = keys[..blocks.len()].to_vec();
                        prompts.push(Prompt { keys, taken, blocks, held });
                    }
                    // A prompt is computed.
                    1 if !prompts.is_empty() => {
                        let at = len % prompts.len();
                        let prompt = &mut prompts[at];
                        while prompt.blocks.len() < prompt.keys.len() {
                            made += 1;
                            prompt.blocks.push(made);
                            prompt.held.push(Arc::new(made));
                        }
                        prompt.taken.extend(cache.insert(&prompt.keys, &prompt.blocks));
                        naive.insert(&prompt.keys, &prompt.held);
                    }
                    // A prompt ends, or is given up.
                    2 if !prompts.is_empty() => {
                        let prompt = prompts.swap_remove(len % prompts.len());
                        cache.give_back(&prompt.taken);
                    }
                    _ => proptest::prop_assert_eq!(cache.evict(), naive.evict()),
                }
                proptest::prop_assert_eq!(cache.idle(), naive.unused().count());
            }
        }
    }
}
