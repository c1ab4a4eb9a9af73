//! The prefix cache as a whole node shares it: blocks in use stay cached until every user has dropped them.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use secateur_model::{Block, KvView};

use super::{Key, PrefixCache};

type Hook = Box<dyn Fn() + Send + Sync>;

/// The prefix cache of a node. Clones share it.
// The cache's lock is held for lookups only, never during a computation.
#[derive(Clone, Default)]
pub struct SharedPrefix(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cache: Mutex<PrefixCache<Arc<Block>>>,
    on_idle: OnceLock<Hook>,
}

/// The cached blocks that a prompt uses; given back on drop.
pub struct Used {
    prefix: SharedPrefix,
    // Extended once, by `SharedPrefix::insert`, when the prompt has been computed.
    keys: Mutex<Vec<Key>>,
}

/// A view of a prompt's KV while it is shipped. It also keeps the prompt's cached blocks in use.
#[derive(Clone)]
pub struct UsedView {
    view: KvView,
    // Declared after `view`, so dropped after it: blocks that are given back can be evicted at once, and must not be
    // held by the view any more.
    _used: Arc<Used>,
}

impl SharedPrefix {
    /// Sets the hook that is called whenever blocks were given back and may be evicted, on the thread that gave them
    /// back. It can be set once, and must be quick.
    pub fn on_idle(&self, hook: impl Fn() + Send + Sync + 'static) {
        // A second hook would be a mistake in the program that starts the node; the first one stays.
        let _ = self.0.on_idle.set(Box::new(hook));
    }

    /// Takes the blocks of the longest cached prefix; they stay in use until the returned [`Used`] is dropped.
    pub fn take(&self, keys: &[Key]) -> (Vec<Arc<Block>>, Arc<Used>) {
        let blocks = self.locked().take(keys);
        let keys = Mutex::new(keys[..blocks.len()].to_vec());
        (blocks, Arc::new(Used { prefix: self.clone(), keys }))
    }

    /// Adds a prompt's blocks to the cache; the new ones count as in use by `used`.
    pub fn insert(&self, keys: &[Key], blocks: &[Arc<Block>], used: &Used) {
        let new = self.locked().insert(keys, blocks);
        used.keys().extend(new);
    }

    /// Evicts up to `count` blocks without users and frees them together. Returns false if there was none.
    pub fn evict(&self, count: usize) -> bool {
        let evicted: Vec<Arc<Block>> = {
            let mut cache = self.locked();
            std::iter::from_fn(|| cache.evict()).take(count).collect()
        };
        let was_there = !evicted.is_empty();
        // The blocks are freed here, after the cache's lock was released.
        Block::free_together(evicted.into_iter().filter_map(Arc::into_inner));
        was_there
    }

    /// Number of cached blocks without users.
    pub fn reclaimable(&self) -> usize {
        self.locked().idle()
    }

    fn locked(&self) -> MutexGuard<'_, PrefixCache<Arc<Block>>> {
        self.0.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Used {
    /// Ties `view`, the KV that is shipped of this prompt, to the use of its cached blocks.
    pub fn view(self: &Arc<Self>, view: KvView) -> UsedView {
        UsedView { view, _used: self.clone() }
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Key>> {
        self.keys.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut *self.keys());
        self.prefix.locked().give_back(&keys);
        if let Some(hook) = self.prefix.0.on_idle.get() {
            hook();
        }
    }
}

impl Deref for UsedView {
    type Target = KvView;

    fn deref(&self) -> &KvView {
        &self.view
    }
}

impl From<KvView> for UsedView {
    /// The view of a prompt that uses no cached block.
    fn from(view: KvView) -> Self {
        SharedPrefix::default().take(&[]).1.view(view)
    }
}
