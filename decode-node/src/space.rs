//! KV blocks for prompts that arrive: who cannot have them yet waits, first come, first served.
//!
//! Answers that run take further blocks past the queue ([`BlockSpace::grow`]): what has begun is finished first. So that
//! they can, a few blocks are kept free when prompts are let in.

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

/// At least one in this many blocks is kept for answers that run.
const KEPT_FREE: usize = 100;

/// The pool of a decode node and the prompts that wait for blocks of it.
pub struct BlockSpace {
    pool: KvPool,
    kept: Kept,
    // Held for a look at the queue only, never across an await, and never while a block is dropped.
    waiting: Mutex<VecDeque<Waiter>>,
    /// Answers that run, and may each need a block soon.
    running: AtomicUsize,
    /// Set while the engine gives out blocks: those that it frees are for the answers that run.
    held_off: AtomicBool,
    /// Set while what is kept of finished prompts is freed: whoever does it serves those that wait.
    evicting: AtomicBool,
    /// Rung when blocks become free, for the engine whose answers all wait for some.
    bell: Bell,
}

struct Waiter {
    blocks: usize,
    granted: oneshot::Sender<Vec<Block>>,
}

impl BlockSpace {
    /// Takes charge of a pool, in which finished prompts' KV is kept if `keeps`.
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

    /// `blocks` blocks, waiting for others to finish if need be. What can never fit is refused at once.
    pub async fn lease(&self, blocks: usize) -> Result<Vec<Block>, ServiceError> {
        if blocks > self.pool.blocks() {
            let text = format!("the prompt needs {blocks} KV blocks; the node has {} in all", self.pool.blocks());
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text));
        }
        let (granted, answer) = oneshot::channel();
        self.queue().push_back(Waiter { blocks, granted });
        // Also when this future is dropped: whoever stops waiting may have been in the way of others.
        let _served_after = ServedAfter(self);
        self.serve();
        answer.await.map_err(|_| ServiceError::new(ErrorCode::Unavailable, "the node is stopping"))
    }

    /// KV with room for so many positions: it begins as `begin` says, with blocks that are kept of finished prompts.
    ///
    /// Nobody waits while holding such blocks: they would be missing to the one who is waited for. So who has to wait lets
    /// go, waits for all that is needed, and begins anew.
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

    /// Blocks, if they are there and nobody waits.
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

    /// Lets the engine give out blocks to `running` answers, undisturbed by prompts that wait.
    pub fn hold_off<T>(&self, running: usize, work: impl FnOnce() -> T) -> T {
        self.running.store(running, Ordering::Relaxed);
        self.held_off.store(true, Ordering::Release);
        let _served_after = HeldOff(self);
        work()
    }

    /// One more block for an answer that runs, if there is one.
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

    /// Blocks that are free, or could be.
    pub fn available(&self) -> usize {
        self.pool.free_blocks() + self.kept.reclaimable()
    }

    /// What is kept of finished prompts.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Rung whenever blocks became free, or could be.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The pool.
    pub fn pool(&self) -> &KvPool {
        &self.pool
    }

    /// Prompts that wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// Grants blocks to those at the front of the queue for whom there are enough.
    fn serve(&self) {
        while !self.held_off.load(Ordering::Acquire) {
            if !self.make_room() {
                return;
            }
            let mut queue = self.queue();
            let Some(granted) = self.grant_first(&mut queue) else { return };
            drop(queue);
            // Whoever stopped waiting leaves the blocks to the next one; they are freed here, without the lock.
            if let Err(unwanted) = granted {
                Block::free_together(unwanted);
            }
        }
    }

    /// Serves the first who still waits; `None` when nobody can be served.
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

    /// Blocks that stay free for answers that run when a prompt is let in.
    fn kept_free(&self) -> usize {
        let all = self.pool.blocks();
        if self.available() == all { 0 } else { (all / KEPT_FREE).max(self.running.load(Ordering::Relaxed)) }
    }

    /// Frees what is kept of finished prompts until the first who waits can be served, if that helps. False: somebody else
    /// is at it, and serves.
    fn make_room(&self) -> bool {
        loop {
            // Anew each time: what was freed may have served the first one already.
            let Some(needed) = self.queue().front().map(|first| first.blocks) else { return true };
            let missing = needed.saturating_sub(self.pool.free_blocks());
            if missing == 0 || self.available() < needed + self.kept_free() {
                return true;
            }
            if self.evicting.swap(true, Ordering::AcqRel) {
                return false;
            }
            // Dropped here, without a lock; it comes back to `serve`, which finds the flag.
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

/// Ends the time in which the engine gives out blocks when it is dropped, also where the engine panics.
struct HeldOff<'a>(&'a BlockSpace);

impl Drop for HeldOff<'_> {
    fn drop(&mut self) {
        self.0.held_off.store(false, Ordering::Release);
        self.0.serve();
    }
}

/// Serves those that wait when it is dropped.
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
        // One block is free, but the one who came first gets it first.
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

    /// So many blocks that finished prompts left.
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
        // Two conversations, of which each could go on only with what the other one left.
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
        // As many answers as run by default; a hundredth of the pool would be enough for six of them.
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
            // Preempted: there are blocks for the prompt too now, but it is not its turn.
            drop(younger);
            assert_eq!((space.pool().free_blocks(), space.waiting()), (7, 1));
            space.grow()
        });
        assert!(grown.is_some());
        assert_eq!(prompt.await.unwrap().unwrap().len(), 2);
    }
}
