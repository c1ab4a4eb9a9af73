//! KV blocks for arriving prompts, which wait for them first come, first served.
//!
//! Running answers take further blocks past this queue ([`BlockSpace::grow`]): an answer that has begun is finished
//! first. A few blocks are kept free for them when prompts are admitted.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use secateur_model::{Block, KvPool, blocks_for};
use secateur_node::Bell;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::sync::oneshot;

use crate::kept::{HeldKv, Kept};

/// At least one in this many blocks is kept free for running answers.
const KEPT_FREE: usize = 100;

/// The KV pool of a decode node and the prompts that wait for its blocks.
pub struct BlockSpace {
    pool: KvPool,
    kept: Kept,
    // The lock is held for access to the queue only: never across an await, and never while a block is dropped, since
    // that serves the queue again.
    waiting: Mutex<VecDeque<Waiter>>,
    /// Number of running answers, each of which may need a block soon.
    running: AtomicUsize,
    /// Set while the engine gives out blocks: blocks that it frees meanwhile are for running answers, not for waiting
    /// prompts.
    held_off: AtomicBool,
    /// Set while a thread evicts blocks of finished prompts; that thread then serves the waiting prompts.
    evicting: AtomicBool,
    /// Rung when blocks become free, for an engine whose answers all wait for blocks.
    bell: Bell,
}

struct Waiter {
    blocks: usize,
    granted: oneshot::Sender<Vec<Block>>,
}

impl BlockSpace {
    /// Takes over `pool`; finished prompts' KV is kept in it if `keeps`.
    pub fn new(pool: KvPool, keeps: bool) -> Arc<Self> {
        let space = Arc::new(Self {
            pool,
            kept: Kept::new(keeps),
            waiting: Mutex::default(),
            running: AtomicUsize::new(0),
            held_off: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            bell: Bell::default(),
        });
        let weak = Arc::downgrade(&space);
        let serve = move || {
            if let Some(space) = weak.upgrade() {
                space.serve();
                space.bell.ring();
            }
        };
        space.pool.on_release(serve.clone());
        space.kept.on_idle(serve);
        space
    }

    /// Leases `blocks` blocks, waiting for their release if need be. More blocks than the pool has are refused at once.
    pub async fn lease(&self, blocks: usize) -> Result<Vec<Block>, ServiceError> {
        if blocks > self.pool.blocks() {
            let text = format!("the prompt needs {blocks} KV blocks; the node has {} in all", self.pool.blocks());
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text));
        }
        let (granted, answer) = oneshot::channel();
        self.queue().push_back(Waiter { blocks, granted });
        // Serves the queue also when this future is dropped: a waiter that leaves may have blocked others behind it.
        let _served_after = ServedAfter(self);
        self.serve();
        answer.await.map_err(|_| ServiceError::new(ErrorCode::Unavailable, "the node is stopping"))
    }

    /// KV with room for `positions` positions. It begins with the result of `begin`: blocks that are kept of finished
    /// prompts.
    ///
    /// A waiter must not hold such blocks, or two waiters could wait for each other's (hold-and-wait). So a waiter
    /// releases what it holds, waits until the whole amount is free, and calls `begin` again.
    pub async fn room_for(&self, positions: usize, begin: impl Fn() -> HeldKv) -> Result<HeldKv, ServiceError> {
        let mut kv = begin();
        if let Some(blocks) = self.try_lease(kv.missing(positions)) {
            kv.grow(blocks);
            return Ok(kv);
        }
        drop(kv);
        let mut blocks = self.lease(blocks_for(positions)).await?;
        let mut kv = begin();
        let surplus = blocks.split_off(kv.missing(positions));
        kv.grow(blocks);
        Block::free_together(surplus);
        Ok(kv)
    }

    /// Leases blocks without waiting; `None` if there are not enough or other prompts wait.
    fn try_lease(&self, blocks: usize) -> Option<Vec<Block>> {
        if !self.queue().is_empty() || self.available() < blocks + self.kept_free() {
            return None;
        }
        while let missing @ 1.. = blocks.saturating_sub(self.pool.free_blocks()) {
            if !self.kept.evict(missing) {
                break;
            }
        }
        self.pool.lease(blocks)
    }

    /// Runs `work`, in which the engine gives out blocks to `running` answers; no waiting prompt is served meanwhile.
    pub fn hold_off<T>(&self, running: usize, work: impl FnOnce() -> T) -> T {
        self.running.store(running, Ordering::Relaxed);
        self.held_off.store(true, Ordering::Release);
        let _served_after = HeldOff(self);
        work()
    }

    /// Leases one more block for a running answer; `None` if none is free or can be evicted.
    pub fn grow(&self) -> Option<Block> {
        loop {
            if let Some(block) = self.pool.lease(1) {
                return block.into_iter().next();
            }
            if !self.kept.evict(1) {
                return None;
            }
        }
    }

    /// Number of blocks that are free or can be evicted.
    pub fn available(&self) -> usize {
        self.pool.free_blocks() + self.kept.reclaimable()
    }

    /// The cache of finished prompts' blocks.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The bell that is rung whenever more blocks are free or can be evicted.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The KV pool.
    pub fn pool(&self) -> &KvPool {
        &self.pool
    }

    /// Number of waiting prompts.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Grants blocks to waiting prompts from the front of the queue, as long as there are enough.
    fn serve(&self) {
        while !self.held_off.load(Ordering::Acquire) {
            if !self.make_room() {
                return;
            }
            let mut queue = self.queue();
            let Some(granted) = self.grant_first(&mut queue) else { return };
            drop(queue);
            // The waiter has left in the meantime; its blocks are freed here, without the queue's lock, for the next
            // one.
            if let Err(unwanted) = granted {
                Block::free_together(unwanted);
            }
        }
    }

    /// Grants blocks to the first prompt that still waits. `None` if no prompt can be served; `Some(Err)` returns the
    /// blocks of a waiter that left meanwhile.
    fn grant_first(&self, queue: &mut VecDeque<Waiter>) -> Option<Result<(), Vec<Block>>> {
        while queue.front().is_some_and(|first| first.granted.is_closed()) {
            queue.pop_front();
        }
        let first = queue.front()?;
        if self.available() < first.blocks + self.kept_free() {
            return None;
        }
        let blocks = self.pool.lease(first.blocks)?;
        let first = queue.pop_front()?;
        Some(first.granted.send(blocks))
    }

    /// Number of blocks that stay free for running answers when a prompt is admitted.
    fn kept_free(&self) -> usize {
        let all = self.pool.blocks();
        if self.available() == all { 0 } else { (all / KEPT_FREE).max(self.running.load(Ordering::Relaxed)) }
    }

    /// Evicts blocks of finished prompts until the first waiting prompt can be served, if eviction can achieve that.
    /// Returns false if another thread is evicting: that thread then serves the queue.
    fn make_room(&self) -> bool {
        loop {
            // Read again in each round: freed blocks may have served the first waiter already.
            let Some(needed) = self.queue().front().map(|first| first.blocks) else { return true };
            let missing = needed.saturating_sub(self.pool.free_blocks());
            if missing == 0 || self.available() < needed + self.kept_free() {
                return true;
            }
            if self.evicting.swap(true, Ordering::AcqRel) {
                return false;
            }
            // Evicted blocks are dropped here, without the queue's lock; their release calls `serve` again, which finds
            // the flag set and returns.
            let was_there = self.kept.evict(missing);
            self.evicting.store(false, Ordering::Release);
            if !was_there {
                return true;
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Guard that clears `held_off` and serves the queue when it is dropped, so also when the engine panics.
struct HeldOff<'a>(&'a BlockSpace);

impl Drop for HeldOff<'_> {
    fn drop(&mut self) {
        self.0.held_off.store(false, Ordering::Release);
        self.0.serve();
    }
}

/// Guard that serves the queue when it is dropped.
struct ServedAfter<'a>(&'a BlockSpace);

impl Drop for ServedAfter<'_> {
    fn drop(&mut self) {
        self.0.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_model::FloatType;
    use secateur_transfer::TransferPolicy;

    fn space(blocks: usize) -> Arc<BlockSpace> {
        BlockSpace::new(KvPool::of_shape(FloatType::F32, 1, 2, 1, blocks).unwrap(), true)
    }

    #[tokio::test]
    async fn who_waits_is_served_in_order_when_blocks_come_back() {
        let space = space(4);
        let held = space.lease(3).await.unwrap();
        let wait = |blocks| {
            let space = space.clone();
            tokio::spawn(async move { space.lease(blocks).await })
        };
        let large = wait(2);
        while space.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        // One block is free, but the prompt that came first is served first.
        let small = wait(1);
        while space.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!small.is_finished());
        drop(held);
        assert_eq!(large.await.unwrap().unwrap().len(), 2);
        assert_eq!(small.await.unwrap().unwrap().len(), 1);
        assert_eq!(space.pool().free_blocks(), 4);
    }

    /// Fills `blocks` blocks with KV of a finished prompt; returns a function that begins a table with them.
    fn left_behind(space: &Arc<BlockSpace>, blocks: usize, first_key: u8) -> impl Fn() -> HeldKv + use<> {
        let manifest = crate::kept::tests::manifest(TransferPolicy::Dense, first_key, 16 * blocks as u32);
        let mut kv = space.kept().begin(space.pool(), &manifest, Some(u32::MAX));
        kv.grow(space.pool().lease(blocks).unwrap());
        kv.set_len(16 * blocks).unwrap();
        space.kept().keep(&manifest, &kv, Some(u32::MAX));
        let space = space.clone();
        move || space.kept().begin(space.pool(), &manifest, Some(u32::MAX))
    }

    #[tokio::test]
    async fn prompts_that_wait_hold_nothing_that_others_wait_for() {
        // Two conversations, each of which can continue only with blocks that the other one's last turn holds.
        let space = space(10);
        let (one, other) = (left_behind(&space, 4, 1), left_behind(&space, 4, 100));
        let running = space.lease(2).await.unwrap();
        let room = |begin| {
            let space = space.clone();
            tokio::spawn(async move { space.room_for(16 * 9, begin).await.map(|kv| kv.blocks()) })
        };
        let waits: [tokio::task::JoinHandle<_>; 2] =
            [room(Box::new(one) as Box<dyn Fn() -> HeldKv + Send>), room(Box::new(other))];
        while space.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(running);
        for wait in waits {
            let got = tokio::time::timeout(std::time::Duration::from_secs(5), wait).await;
            assert_eq!(got.expect("they wait for each other").unwrap().unwrap(), 9);
        }
    }

    #[tokio::test]
    async fn only_as_much_is_evicted_as_is_needed() {
        let space = space(12);
        drop(left_behind(&space, 10, 1));
        let got = space.lease(5).await.unwrap();
        assert_eq!((got.len(), space.kept().reclaimable()), (5, 7));
    }

    #[tokio::test]
    async fn who_stops_waiting_is_passed_over() {
        let space = space(2);
        let held = space.lease(2).await.unwrap();
        let waiter = tokio::spawn({
            let space = space.clone();
            async move { space.lease(2).await }
        });
        while space.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        waiter.abort();
        assert!(waiter.await.is_err());
        drop(held);
        assert_eq!(space.pool().free_blocks(), 2);
        assert_eq!(space.lease(2).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_refused_and_a_runner_grows_past_the_queue() {
        let space = space(2);
        assert_eq!(space.lease(3).await.unwrap_err().code, ErrorCode::ContextLengthExceeded);
        let _held = space.lease(1).await.unwrap();
        assert!(space.grow().is_some());
    }

    #[tokio::test]
    async fn prompts_that_arrive_leave_every_running_answer_its_next_block() {
        // As many answers as run by default; one in a hundred blocks of the pool would be enough for only six of them.
        const RUNNING: usize = 64;
        let space = space(640);
        let _answers = space.lease(RUNNING).await.unwrap();
        space.hold_off(RUNNING, || ());
        let prompts: Vec<_> = (0..640)
            .map(|_| {
                let space = space.clone();
                tokio::spawn(async move { space.lease(1).await })
            })
            .collect();
        while prompts.iter().filter(|prompt| prompt.is_finished()).count() + space.waiting() < prompts.len() {
            tokio::task::yield_now().await;
        }
        let grown: Vec<Block> = space.hold_off(RUNNING, || (0..RUNNING).map_while(|_| space.grow()).collect());
        assert_eq!(grown.len(), RUNNING);
        prompts.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn what_the_engine_frees_while_it_gives_out_blocks_is_for_the_answers() {
        let space = space(8);
        let (_older, younger) = (space.lease(1).await.unwrap(), space.lease(7).await.unwrap());
        let prompt = tokio::spawn({
            let space = space.clone();
            async move { space.lease(2).await }
        });
        while space.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        let grown = space.hold_off(2, || {
            // As if the younger answer were preempted: there are now blocks for the prompt too, but it must wait until
            // the answers have theirs.
            drop(younger);
            assert_eq!((space.pool().free_blocks(), space.waiting()), (7, 1));
            space.grow()
        });
        assert!(grown.is_some());
        assert_eq!(prompt.await.unwrap().unwrap().len(), 2);
    }
}
