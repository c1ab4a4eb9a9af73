//! The queue of those who wait for blocks, and when they get some: first come, first served.
//!
//! Whoever makes blocks free, or lets them be evicted, calls [`Queue::serve`] afterwards. A thread that finds another
//! one evicting leaves the queue to that one, which looks again once it has evicted. So a waiter is served by the last
//! thread that made room for it, or by one that looks after that thread. `tests/loom` tries every order of the steps.

use std::collections::VecDeque;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};

/// At least one in this many blocks is kept free for running answers.
const KEPT_FREE: usize = 100;

/// The blocks that a queue gives out.
pub trait Stock {
    /// One block.
    type Block;

    /// Number of blocks, free or not.
    fn all(&self) -> usize;
    /// Number of free blocks.
    fn free(&self) -> usize;
    /// Number of blocks that can be evicted.
    fn reclaimable(&self) -> usize;
    /// Takes `count` free blocks, or none at all.
    fn lease(&self, count: usize) -> Option<Vec<Self::Block>>;
    /// Evicts up to `count` blocks, which become free. Returns false if there was none.
    fn evict(&self, count: usize) -> bool;
    /// Makes leased blocks free.
    fn take_back(&self, blocks: Vec<Self::Block>);
}

/// The way to one that waits for blocks.
pub trait Asker<B> {
    /// Whether it has stopped waiting.
    fn has_left(&self) -> bool;
    /// Hands over the blocks; they come back if it has stopped waiting.
    fn hand(self, blocks: Vec<B>) -> Result<(), Vec<B>>;
}

/// Blocks, and those who wait for them.
pub struct Queue<S, A> {
    stock: S,
    // The lock is held for access to the queue only: never across an await, and never while a block is dropped, since
    // that serves the queue again.
    waiting: Mutex<VecDeque<Waiter<A>>>,
    /// Number of running answers, each of which may need a block soon.
    running: AtomicUsize,
    /// Set while the engine gives out blocks: blocks that it frees meanwhile are for running answers, not for those who
    /// wait. Set with the queue locked, so that nobody is served after it is set.
    held_off: AtomicBool,
    /// Set while a thread evicts blocks; that thread then serves the queue.
    evicting: AtomicBool,
}

struct Waiter<A> {
    blocks: usize,
    asker: A,
}

impl<S: Stock, A: Asker<S::Block>> Queue<S, A> {
    /// A queue in which nobody waits.
    pub fn new(stock: S) -> Self {
        Self {
            stock,
            waiting: Mutex::new(VecDeque::new()),
            running: AtomicUsize::new(0),
            held_off: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
        }
    }

    /// The blocks.
    pub fn stock(&self) -> &S {
        &self.stock
    }

    /// Lets `asker` wait for `blocks` blocks. The caller serves the queue afterwards.
    pub fn join(&self, blocks: usize, asker: A) {
        self.locked().push_back(Waiter { blocks, asker });
    }

    /// Leases blocks without waiting; `None` if there are not enough or others wait.
    pub fn try_lease(&self, blocks: usize) -> Option<Vec<S::Block>> {
        if !self.locked().is_empty() || self.available() < blocks + self.kept_free() {
            return None;
        }
        while let missing @ 1.. = blocks.saturating_sub(self.stock.free()) {
            if !self.stock.evict(missing) {
                break;
            }
        }
        self.stock.lease(blocks)
    }

    /// Runs `work`, in which the engine gives out blocks to `running` answers; nobody who waits is served meanwhile.
    pub fn hold_off<T>(&self, running: usize, work: impl FnOnce() -> T) -> T {
        self.running.store(running, Ordering::Relaxed);
        let queue = self.locked();
        self.held_off.store(true, Ordering::Release);
        drop(queue);
        let _served_after = HeldOff(self);
        work()
    }

    /// Leases one more block for a running answer; `None` if none is free or can be evicted.
    pub fn grow(&self) -> Option<S::Block> {
        loop {
            if let Some(block) = self.stock.lease(1) {
                return block.into_iter().next();
            }
            if !self.stock.evict(1) {
                return None;
            }
        }
    }

    /// Grants blocks to those who wait, from the front of the queue, as long as there are enough.
    pub fn serve(&self) {
        while !self.held_off.load(Ordering::Acquire) {
            if !self.make_room() {
                return;
            }
            let mut queue = self.locked();
            let Some(granted) = self.grant_first(&mut queue) else { return };
            drop(queue);
            // The waiter has left in the meantime; its blocks are freed here, without the queue's lock, for the next
            // one.
            if let Err(unwanted) = granted {
                self.stock.take_back(unwanted);
            }
        }
    }

    /// Number of those who wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Number of blocks that are free or can be evicted.
    pub fn available(&self) -> usize {
        self.stock.free() + self.stock.reclaimable()
    }

    /// Grants blocks to the first one that still waits. `None` if nobody can be served; `Some(Err)` returns the blocks
    /// of a waiter that left meanwhile.
    fn grant_first(&self, queue: &mut VecDeque<Waiter<A>>) -> Option<Result<(), Vec<S::Block>>> {
        if self.held_off.load(Ordering::Relaxed) {
            return None;
        }
        let needed = first(queue)?;
        if self.available() < needed + self.kept_free() {
            return None;
        }
        let blocks = self.stock.lease(needed)?;
        let first = queue.pop_front()?;
        Some(first.asker.hand(blocks))
    }

    /// Number of blocks that stay free for running answers when somebody is served.
    fn kept_free(&self) -> usize {
        let all = self.stock.all();
        if self.available() == all { 0 } else { (all / KEPT_FREE).max(self.running.load(Ordering::Relaxed)) }
    }

    /// Evicts blocks until the first waiter can be served, if eviction can achieve that. Returns false if another
    /// thread is evicting: that thread then serves the queue.
    fn make_room(&self) -> bool {
        loop {
            // Read again in each round: freed blocks may have served the first waiter already.
            let Some(needed) = first(&mut self.locked()) else { return true };
            let missing = needed.saturating_sub(self.stock.free());
            if missing == 0 || self.available() < needed + self.kept_free() {
                return true;
            }
            let begins = self.evicting.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
            if begins.is_err() {
                return false;
            }
            // Evicted blocks are dropped here, without the queue's lock; their release calls `serve` again, which finds
            // the flag set and returns.
            let was_there = self.stock.evict(missing);
            self.evicting.store(false, Ordering::Release);
            if !was_there {
                return true;
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Waiter<A>>> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Number of blocks that the first one needs who still waits; those before it are removed.
fn first<A: Asker<B>, B>(queue: &mut VecDeque<Waiter<A>>) -> Option<usize> {
    while queue.front()?.asker.has_left() {
        queue.pop_front();
    }
    queue.front().map(|first| first.blocks)
}

/// Guard that clears `held_off` and serves the queue when it is dropped, so also when the engine panics.
struct HeldOff<'a, S: Stock, A: Asker<S::Block>>(&'a Queue<S, A>);

impl<S: Stock, A: Asker<S::Block>> Drop for HeldOff<'_, S, A> {
    fn drop(&mut self) {
        self.0.held_off.store(false, Ordering::Release);
        self.0.serve();
    }
}
