//! KV blocks for arriving prompts, which wait for them first come, first served.
//!
//! Running answers take further blocks past this queue ([`BlockSpace::grow`]): an answer that has begun is finished
//! first. A few blocks are kept free for them when prompts are admitted. `queue` has the rules by which it is served.

mod queue;

use std::sync::Arc;

use secateur_model::{Block, KvPool, blocks_for};
use secateur_node::Bell;
use secateur_proto::{ErrorCode, ServiceError};
use tokio::sync::oneshot;

use crate::kept::{HeldKv, Kept};
use queue::{Asker, Queue, Stock};

/// The KV pool of a decode node and the prompts that wait for its blocks.
pub struct BlockSpace {
    queue: Queue<Blocks, oneshot::Sender<Vec<Block>>>,
    /// Rung when blocks become free, for an engine whose answers all wait for blocks.
    bell: Bell,
}

/// The pool's blocks, some of which have KV of finished prompts.
struct Blocks {
    pool: KvPool,
    kept: Kept,
}

impl BlockSpace {
    /// Takes over `pool`; finished prompts' KV is kept in it if `keeps`.
    pub fn new(pool: KvPool, keeps: bool) -> Arc<Self> {
        let blocks = Blocks { pool, kept: Kept::new(keeps) };
        let space = Arc::new(Self { queue: Queue::new(blocks), bell: Bell::default() });
        let weak = Arc::downgrade(&space);
        let serve = move || {
            if let Some(space) = weak.upgrade() {
                space.queue.serve();
                space.bell.ring();
            }
        };
        space.pool().on_release(serve.clone());
        space.kept().on_idle(serve);
        space
    }

    /// Leases `blocks` blocks, waiting for their release if need be. More blocks than the pool has are refused at once.
    pub async fn lease(&self, blocks: usize) -> Result<Vec<Block>, ServiceError> {
        if blocks > self.pool().blocks() {
            let text = format!("the prompt needs {blocks} KV blocks; the node has {} in all", self.pool().blocks());
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text));
        }
        let (granted, answer) = oneshot::channel();
        self.queue.join(blocks, granted);
        // Serves the queue also when this future is dropped: a waiter that leaves may have blocked others behind it.
        let _served_after = ServedAfter(self);
        self.queue.serve();
        answer.await.map_err(|_| ServiceError::new(ErrorCode::Unavailable, "the node is stopping"))
    }

    /// KV with room for `positions` positions. It begins with the result of `begin`: blocks that are kept of finished
    /// prompts.
    ///
    /// A waiter must not hold such blocks, or two waiters could wait for each other's (hold-and-wait). So a waiter
    /// releases what it holds, waits until the whole amount is free, and calls `begin` again.
    pub async fn room_for(&self, positions: usize, begin: impl Fn() -> HeldKv) -> Result<HeldKv, ServiceError> {
        let mut kv = begin();
        if let Some(blocks) = self.queue.try_lease(kv.missing(positions)) {
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

    /// Runs `work`, in which the engine gives out blocks to `running` answers; no waiting prompt is served meanwhile.
    pub fn hold_off<T>(&self, running: usize, work: impl FnOnce() -> T) -> T {
        self.queue.hold_off(running, work)
    }

    /// Leases one more block for a running answer; `None` if none is free or can be evicted.
    pub fn grow(&self) -> Option<Block> {
        self.queue.grow()
    }

    /// Number of blocks that are free or can be evicted.
    pub fn available(&self) -> usize {
        self.queue.available()
    }

    /// The cache of finished prompts' blocks.
    pub fn kept(&self) -> &Kept {
        &self.queue.stock().kept
    }

    /// The bell that is rung whenever more blocks are free or can be evicted.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The KV pool.
    pub fn pool(&self) -> &KvPool {
        &self.queue.stock().pool
    }

    /// Number of waiting prompts.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Stock for Blocks {
    type Block = Block;

    fn all(&self) -> usize {
        self.pool.blocks()
    }

    fn free(&self) -> usize {
        self.pool.free_blocks()
    }

    fn reclaimable(&self) -> usize {
        self.kept.reclaimable()
    }

    fn lease(&self, count: usize) -> Option<Vec<Block>> {
        self.pool.lease(count)
    }

    fn evict(&self, count: usize) -> bool {
        self.kept.evict(count)
    }

    fn take_back(&self, blocks: Vec<Block>) {
        Block::free_together(blocks);
    }
}

impl Asker<Block> for oneshot::Sender<Vec<Block>> {
    fn has_left(&self) -> bool {
        self.is_closed()
    }

    fn hand(self, blocks: Vec<Block>) -> Result<(), Vec<Block>> {
        self.send(blocks)
    }
}

/// Guard that serves the queue when it is dropped.
struct ServedAfter<'a>(&'a BlockSpace);

impl Drop for ServedAfter<'_> {
    fn drop(&mut self) {
        self.0.queue.serve();
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
    async fn who_waits_behind_one_that_leaves_gets_blocks_that_have_to_be_evicted() {
        let space = space(10);
        drop(left_behind(&space, 5, 1));
        let _running = space.lease(3).await.unwrap();
        let wait = |blocks| {
            let space = space.clone();
            tokio::spawn(async move { space.lease(blocks).await })
        };
        let large = wait(8);
        while space.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        let small = wait(5);
        while space.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        large.abort();
        assert!(large.await.is_err());
        let got = tokio::time::timeout(std::time::Duration::from_secs(5), small).await;
        assert_eq!(got.expect("nobody makes room for it").unwrap().unwrap().len(), 5);
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
