//! Models of the queue for KV blocks, with a pool and a cache that are only counts.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use loom::{sync::Mutex as Counted, thread};

use crate::{
    explore,
    parts::queue::{Asker, Queue, Stock},
};

/// Counts of blocks. As in the pool and the cache of a node, each count has a lock of its own, and whoever makes blocks
/// free, or lets them be evicted, serves the queue afterwards.
struct Counts {
    all: usize,
    free: Counted<usize>,
    reclaimable: Counted<usize>,
    queue: Weak<Queue<Counts, Request>>,
}

/// A block; it is counted only while it is free or can be evicted.
struct Block;

impl Stock for Counts {
    type Block = Block;

    fn all(&self) -> usize {
        self.all
    }

    fn free(&self) -> usize {
        *self.free.lock().unwrap()
    }

    fn reclaimable(&self) -> usize {
        *self.reclaimable.lock().unwrap()
    }

    fn lease(&self, count: usize) -> Option<Vec<Block>> {
        let mut free = self.free.lock().unwrap();
        *free = free.checked_sub(count)?;
        Some((0..count).map(|_| Block).collect())
    }

    fn evict(&self, count: usize) -> bool {
        let mut reclaimable = self.reclaimable.lock().unwrap();
        let count = count.min(*reclaimable);
        *reclaimable -= count;
        drop(reclaimable);
        if count > 0 {
            self.make_free(count);
        }
        count > 0
    }

    fn take_back(&self, blocks: Vec<Block>) {
        self.make_free(blocks.len());
    }
}

impl Counts {
    fn make_free(&self, count: usize) {
        *self.free.lock().unwrap() += count;
        self.serve();
    }

    fn let_be_evicted(&self, count: usize) {
        *self.reclaimable.lock().unwrap() += count;
        self.serve();
    }

    fn serve(&self) {
        self.queue.upgrade().unwrap().serve();
    }
}

/// What became of a request. Its lock orders nothing that the models check, so it is not one of loom's.
#[derive(Clone, Default)]
struct Request(Arc<Mutex<Fate>>);

#[derive(Default)]
enum Fate {
    #[default]
    Waits,
    Got(usize),
    Left,
}

impl Request {
    fn fate(&self) -> std::sync::MutexGuard<'_, Fate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of blocks that it got; `None` if it waits or has left.
    fn got(&self) -> Option<usize> {
        match *self.fate() {
            Fate::Got(blocks) => Some(blocks),
            _ => None,
        }
    }
}

impl Asker<Block> for Request {
    fn has_left(&self) -> bool {
        matches!(*self.fate(), Fate::Left)
    }

    fn hand(self, blocks: Vec<Block>) -> Result<(), Vec<Block>> {
        let mut fate = self.fate();
        match *fate {
            Fate::Left => return Err(blocks),
            Fate::Waits => *fate = Fate::Got(blocks.len()),
            Fate::Got(_) => panic!("served twice"),
        }
        Ok(())
    }
}

/// A node's blocks and their queue.
#[derive(Clone)]
struct Space(Arc<Queue<Counts, Request>>);

impl Space {
    fn new(all: usize, free: usize, reclaimable: usize) -> Self {
        Self(Arc::new_cyclic(|queue| {
            let (free, reclaimable) = (Counted::new(free), Counted::new(reclaimable));
            Queue::new(Counts { all, free, reclaimable, queue: queue.clone() })
        }))
    }

    fn counts(&self) -> &Counts {
        self.0.stock()
    }

    /// Joins the queue, as a prompt does.
    fn asks(&self, blocks: usize) -> Request {
        let request = Request::default();
        self.0.join(blocks, request.clone());
        self.0.serve();
        request
    }

    /// Stops waiting, as a prompt does whose client has gone: its channel is dropped with what was in it, then the
    /// queue is served.
    fn leaves(&self, request: &Request) {
        let before = std::mem::replace(&mut *request.fate(), Fate::Left);
        if let Fate::Got(blocks) = before {
            self.counts().make_free(blocks);
        }
        self.0.serve();
    }

    fn on_thread(&self, work: impl FnOnce(&Space) + 'static) -> thread::JoinHandle<()> {
        let space = self.clone();
        thread::spawn(move || work(&space))
    }

    /// Checks how many blocks are free or can be evicted at the end.
    fn has_left_over(&self, blocks: usize) {
        assert_eq!(self.0.available(), blocks);
    }
}

fn join<const N: usize>(threads: [thread::JoinHandle<()>; N]) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Two threads give back one block each, of which a prompt needs two.
pub fn who_waits_is_served_by_whoever_makes_room_last() {
    explore(4, || {
        let space = Space::new(2, 0, 0);
        let request = space.asks(2);
        join([(); 2].map(|()| space.on_thread(|space| space.counts().make_free(1))));
        assert_eq!(request.got(), Some(2));
        space.has_left_over(0);
    });
}

/// One release is enough for two prompts, of which the second may just be coming.
pub fn one_release_serves_everyone_it_is_enough_for() {
    explore(4, || {
        let space = Space::new(2, 0, 0);
        let first = space.asks(1);
        let other = space.on_thread(|space| space.counts().make_free(2));
        let second = space.asks(1);
        join([other]);
        assert_eq!((first.got(), second.got()), (Some(1), Some(1)));
        space.has_left_over(0);
    });
}

/// A prompt asks while a block comes back.
pub fn who_comes_while_blocks_come_back_is_served() {
    explore(4, || {
        let space = Space::new(2, 1, 0);
        let other = space.on_thread(|space| space.counts().make_free(1));
        let request = space.asks(2);
        join([other]);
        assert_eq!(request.got(), Some(2));
        space.has_left_over(0);
    });
}

/// Two threads let one block each be evicted, and a prompt needs both: one of them may find the other evicting.
pub fn blocks_are_evicted_for_who_waits_whoever_makes_room() {
    explore(4, || {
        let space = Space::new(2, 0, 0);
        let request = space.asks(2);
        join([(); 2].map(|()| space.on_thread(|space| space.counts().let_be_evicted(1))));
        assert_eq!(request.got(), Some(2));
        space.has_left_over(0);
    });
    // A prompt that comes while another thread evicts for the one before it.
    explore(4, || {
        let space = Space::new(5, 0, 2);
        let first = space.asks(3);
        let other = space.on_thread(|space| space.counts().let_be_evicted(3));
        let second = space.asks(1);
        join([other]);
        assert_eq!((first.got(), second.got()), (Some(3), Some(1)));
        space.has_left_over(1);
    });
}

/// A prompt leaves while its blocks are on the way: the next one gets them.
pub fn who_leaves_is_passed_over_and_takes_no_block_along() {
    explore(4, || {
        let space = Space::new(2, 0, 0);
        let (first, second) = (space.asks(2), space.asks(1));
        let leaver = {
            let first = first.clone();
            space.on_thread(move |space| space.leaves(&first))
        };
        space.counts().make_free(2);
        join([leaver]);
        assert_eq!((first.got(), second.got()), (None, Some(1)));
        space.has_left_over(1);
    });
}

/// A prompt that asked for too much leaves, and the next one's blocks have to be evicted first.
pub fn who_waits_behind_one_that_leaves_is_served() {
    explore(4, || {
        let space = Space::new(10, 1, 2);
        let (first, second) = (space.asks(8), space.asks(3));
        let leaver = space.on_thread(move |space| space.leaves(&first));
        space.counts().let_be_evicted(1);
        join([leaver]);
        assert_eq!(second.got(), Some(3));
        space.has_left_over(1);
    });
}

/// While the engine gives out blocks, what comes back is for its answers; afterwards who waits is served.
pub fn nobody_is_served_while_the_engine_gives_out_blocks() {
    explore(4, || {
        let space = Space::new(8, 1, 0);
        let request = space.asks(2);
        let other = space.on_thread(|space| space.counts().make_free(1));
        let grown = space.0.hold_off(0, || {
            let before = request.got();
            let grown = space.0.grow();
            assert!(request.got() == before, "served meanwhile");
            grown
        });
        join([other]);
        // Two blocks are not enough for both.
        assert!(grown.is_some() == request.got().is_none());
        space.counts().make_free(2);
        assert_eq!(request.got(), Some(2));
    });
}

/// A block comes back while the engine gives out blocks, or is about to end that.
pub fn who_waits_is_served_when_the_engine_has_given_out_blocks() {
    explore(4, || {
        let space = Space::new(2, 1, 0);
        let request = space.asks(2);
        let other = space.on_thread(|space| space.counts().make_free(1));
        space.0.hold_off(0, || ());
        join([other]);
        assert_eq!(request.got(), Some(2));
        space.has_left_over(0);
    });
}
