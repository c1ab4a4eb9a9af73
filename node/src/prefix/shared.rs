//! The prefix cache as all of a node share it: what a prompt uses stays known until all are done with it.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use secateur_model::{Block, KvView};

use super::{Key, PrefixCache};

type Hook = Box<dyn Fn() + Send + Sync>;

/// The prefix cache of a node. Clones share it.
// Held for a lookup only, never while something is computed.
#[derive(Clone, Default)]
pub struct SharedPrefix(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cache: Mutex<PrefixCache<Arc<Block>>>,
    on_idle: OnceLock<Hook>,
}

/// What a prompt uses of the cache; given back on drop.
pub struct Used {
    prefix: SharedPrefix,
    // Grows once, when the prompt is through.
    keys: Mutex<Vec<Key>>,
}

/// A prompt's KV on its way, and with it the right to what it uses.
#[derive(Clone)]
pub struct UsedView {
    view: KvView,
    // Behind the view: what is given back can be evicted at once, and is to be free then.
    _used: Arc<Used>,
}

impl SharedPrefix {
    /// Calls `hook` whenever blocks were given back, which can then be evicted, on the thread that did. It can be set once,
    /// and must be quick.
    pub fn on_idle(&self, hook: impl Fn() + Send + Sync + 'static) {
        // A second hook would be a mistake in the program that starts the node; the first one stays.
        let _ = self.0.on_idle.set(Box::new(hook));
    }

    /// The blocks of the longest known prefix.
    pub fn take(&self, keys: &[Key]) -> (Vec<Arc<Block>>, Arc<Used>) {
        let blocks = self.locked().take(keys);
        let keys = Mutex::new(keys[..blocks.len()].to_vec());
        (blocks, Arc::new(Used { prefix: self.clone(), keys }))
    }

    /// Remembers a prompt's blocks.
    pub fn insert(&self, keys: &[Key], blocks: &[Arc<Block>], used: &Used) {
        let new = self.locked().insert(keys, blocks);
        used.keys().extend(new);
    }

    /// Forgets up to `count` blocks that nobody uses and frees them together. False: there is none.
    pub fn evict(&self, count: usize) -> bool {
        let evicted: Vec<Arc<Block>> = {
            let mut cache = self.locked();
            std::iter::from_fn(|| cache.evict()).take(count).collect()
        };
        let was_there = !evicted.is_empty();
        // Freed here, without the lock.
        Block::free_together(evicted.into_iter().filter_map(Arc::into_inner));
        was_there
    }

    /// Blocks that nobody uses.
    pub fn reclaimable(&self) -> usize {
        self.locked().idle()
    }

    fn locked(&self) -> MutexGuard<'_, PrefixCache<Arc<Block>>> {
        self.0.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Used {
    /// The same for what is shipped of it.
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
    /// Of a prompt that uses nothing.
    fn from(view: KvView) -> Self {
        SharedPrefix::default().take(&[]).1.view(view)
    }
}
