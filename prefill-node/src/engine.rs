//! The computation: one thread, in which every step computes rows of several prompts, which join and leave between
//! steps.
//!
//! ```text
//! queue ──▶ take in ──▶ look (see, prune) ──▶ admit (blocks) ──▶ schedule ──▶ compute ──▶ publish ──┐
//!              ▲                                                                                    │
//!              └────────────────────────────────────────────────────────────────────────────────────┘
//! Beside it, each job's ship task follows its progress; publish sends the first token to its response.
//! ```

mod entry;
mod look;
#[cfg(test)]
mod tests;
mod work;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    time::Instant,
};

use secateur_common::shutdown::CancellationToken;
use secateur_model::{BLOCK_POSITIONS, Block, BlockTable, Drawn, KvPool, ModelError, VisualTokens, blocks_for};
use secateur_node::{
    Bell, Leash, Life, Permit, Permits,
    bell::RingOnDrop,
    handshake::{self, model_failure},
    prefix::SharedPrefix,
};
use secateur_proto::{ErrorCode, ServiceError, v1};

pub use self::work::{Limits, Prefilled, Work};
use self::{
    entry::{Entry, Phase, Running},
    work::Gauges,
};
use crate::{
    compute::{Chunk, Compute},
    pictures::DigestCache,
    progress::{Closed, Reporter},
    schedule::chunks,
    stall::Shortage,
};

/// Most prompts that may be laid out and wait for blocks: each holds its visual tokens in memory.
const LAID_MAX: usize = 32;

/// The handle to the engine thread.
pub struct Engine {
    incoming: Sender<(Work, Permit)>,
    // Declared after `incoming`, so dropped after it: the engine thread that its drop wakes finds the queue closed.
    _wakes: RingOnDrop,
    bell: Bell,
    life: Life,
    queue: Permits,
    shortage: Shortage,
    gauges: Arc<Gauges>,
    prefix: SharedPrefix,
}

impl Engine {
    /// Starts the thread that owns the computation.
    pub fn start(compute: impl Compute, pool: KvPool, limits: Limits) -> std::io::Result<Self> {
        let (sender, incoming) = channel();
        let (gauges, shortage) = (Arc::new(Gauges::default()), Shortage::default());
        let (prefix, bell) = (SharedPrefix::default(), Bell::default());
        // Blocks are released on other threads too, when shipments end.
        let (freed, idle) = (bell.clone(), bell.clone());
        pool.on_release(move || freed.ring());
        prefix.on_idle(move || idle.ring());
        let mut core = Core {
            compute,
            incoming,
            bell: bell.clone(),
            jobs: Vec::new(),
            pool,
            prefix: prefix.clone(),
            pictures: DigestCache::new(limits.picture_cache),
            limits,
            shortage: shortage.clone(),
            gauges: gauges.clone(),
        };
        let life = Life::begin("prefill-engine", move || {
            while core.take_in() {
                core.look();
                core.admit();
                let rows = core.schedule();
                let outcome = core.compute(&rows);
                core.publish(outcome);
            }
        })?;
        let (queue, _wakes) = (Permits::new(limits.queue), bell.on_drop());
        Ok(Self { incoming: sender, _wakes, bell, life, queue, shortage, gauges, prefix })
    }

    /// Takes a permit to wait in the queue; an error if the queue is full. It is taken before any work for a request, so
    /// that a waiting request is counted whatever it waits for.
    pub fn take_permit(&self) -> Result<Permit, ServiceError> {
        self.queue.take().ok_or_else(|| {
            let limit = self.queue.limit();
            let text = format!("the prefill node's queue of {limit} prompts is full; try again shortly");
            ServiceError::new(ErrorCode::Overloaded, text)
        })
    }

    /// Hands a job to the engine thread. The job keeps `permit` until it has its blocks.
    pub fn submit(&self, work: Work, permit: Permit) -> Result<(), ServiceError> {
        let stopped = |_| ServiceError::new(ErrorCode::Unavailable, "the prefill engine has stopped");
        self.incoming.send((work, permit)).map_err(stopped)?;
        self.bell.ring();
        Ok(())
    }

    /// A cancellation token for a job, and the leash whose drop cancels it and wakes the engine to see that.
    pub fn leash(&self) -> (CancellationToken, Leash) {
        let cancelled = CancellationToken::new();
        (cancelled.clone(), Leash::waking(cancelled, &self.bell))
    }

    /// The life of the engine thread.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// The engine's gauges.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// The flag that says whether prompts wait for blocks.
    pub fn shortage(&self) -> &Shortage {
        &self.shortage
    }

    /// Number of blocks that only the prefix cache holds.
    pub fn reclaimable(&self) -> usize {
        self.prefix.reclaimable()
    }

    /// The queue's permits, one for each request that waits: for blocks, for its pictures to be decoded, or for the
    /// vision tower.
    pub fn queue(&self) -> &Permits {
        &self.queue
    }
}

/// The state that the engine thread owns.
struct Core<C> {
    compute: C,
    incoming: Receiver<(Work, Permit)>,
    /// Rung for every event on which a waiting engine may continue: a new job, a cancellation, a freed block, the end
    /// of the handle.
    bell: Bell,
    /// All jobs of the engine, in order of arrival.
    jobs: Vec<Entry>,
    pool: KvPool,
    prefix: SharedPrefix,
    pictures: DigestCache<VisualTokens>,
    limits: Limits,
    shortage: Shortage,
    gauges: Arc<Gauges>,
}

/// Result of a step: for each job, the end of its prompt once it is complete, or why it failed; or one error for the
/// whole step.
type Outcome = Result<Vec<Option<Result<Ended, ServiceError>>>, ServiceError>;

/// The end of a prompt.
struct Ended {
    /// The first token; `None` where none is drawn.
    drawn: Option<Drawn>,
    at: Instant,
}

impl<C: Compute> Core<C> {
    /// Takes in new jobs and drops cancelled ones; sleeps while there is nothing to compute. Returns false when the
    /// engine's handle is gone and there is nothing left to compute.
    fn take_in(&mut self) -> bool {
        self.let_go();
        if self.waits() {
            if self.jobs.is_empty() {
                self.shortage.set(false);
            }
            self.bell.wait();
            self.let_go();
        }
        let is_open = self.receive();
        self.count();
        is_open || !self.waits()
    }

    /// Whether a step would find nothing to compute.
    fn waits(&self) -> bool {
        let laid = self.laid();
        laid == self.jobs.len() || (laid >= LAID_MAX && !self.jobs.iter().any(Entry::runs))
    }

    /// Drops cancelled jobs.
    fn let_go(&mut self) {
        self.jobs.retain(|entry| !entry.work.cancelled.is_cancelled());
        self.count();
    }

    /// Takes in new jobs. Returns false when the engine's handle is gone.
    fn receive(&mut self) -> bool {
        loop {
            match self.incoming.try_recv() {
                Ok(came) => self.jobs.push(Entry::new(came)),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Gives blocks to waiting prompts, and tells shipments whether some prompts still wait.
    fn admit(&mut self) {
        let all_run = self.give_out();
        self.shortage.set(!all_run);
    }

    /// Leases blocks to laid-out prompts, first come, first served. Returns false if there are not enough blocks for
    /// the next prompt in line.
    fn give_out(&mut self) -> bool {
        for at in 0..self.jobs.len() {
            let Phase::LaidOut(laid, _) = &self.jobs[at].phase else { continue };
            let positions = laid.prompt.len();
            // The last row is always computed, since its state is wanted; where all states are, every row is.
            let usable = (positions - 1) / BLOCK_POSITIONS;
            let looks = !self.jobs[at].work.job.purpose.reads_all();
            let usable = if self.limits.prefix_cache && looks { usable.min(laid.keys.len()) } else { 0 };
            let (shared, used) = self.prefix.take(&laid.keys[..usable]);
            let cached = shared.len() * BLOCK_POSITIONS;
            let Some(blocks) = self.lease(blocks_for(positions) - shared.len()) else { return false };
            let mut table = BlockTable::with_prefix(&self.pool, shared);
            table.grow(blocks);
            if looks {
                self.gauges.prefix_queries.fetch_add(positions as u64, Ordering::Relaxed);
                self.gauges.prefix_hits.fetch_add(cached as u64, Ordering::Relaxed);
            }
            self.jobs[at].run(table, used, cached);
            if let Entry { work: Work { progress: Some(progress), .. }, phase: Phase::Running(running) } =
                &self.jobs[at]
            {
                running.announce(progress);
            }
        }
        true
    }

    /// Leases `count` blocks, evicting blocks that only the prefix cache holds where needed. `None` if even that is not
    /// enough.
    fn lease(&mut self, count: usize) -> Option<Vec<Block>> {
        loop {
            if let Some(blocks) = self.pool.lease(count) {
                return Some(blocks);
            }
            // Evict at least one, although blocks may have become free since the lease failed.
            if !self.prefix.evict(count.saturating_sub(self.pool.free_blocks()).max(1)) {
                return None;
            }
        }
    }

    /// Number of rows of each job that the next step computes; 0 for a job that waits.
    fn schedule(&self) -> Vec<usize> {
        let remaining = |entry: &Entry| match &entry.phase {
            Phase::Running(running) => Some(running.laid.prompt.len() - running.table.len()),
            _ => None,
        };
        let running: Vec<usize> = self.jobs.iter().filter_map(remaining).collect();
        let mut granted = chunks(&running, self.limits.step_tokens).into_iter();
        self.jobs.iter().map(|entry| remaining(entry).and_then(|_| granted.next()).unwrap_or(0)).collect()
    }

    /// Computes a step. Ship tasks are told of each model block's KV as soon as it is stored.
    fn compute(&mut self, rows: &[usize]) -> Outcome {
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        let mut shipping: Vec<&Reporter> = Vec::new();
        for (entry, &rows) in self.jobs.iter_mut().zip(rows).filter(|(_, rows)| **rows > 0) {
            let Phase::Running(running) = &mut entry.phase else { continue };
            let Running { laid, table, sampler, reading, .. } = &mut **running;
            let rows = table.len()..table.len() + rows;
            if let Some(progress) = &entry.work.progress {
                progress.step(rows.end as u32);
                shipping.push(progress);
            }
            let reading = reading.as_mut();
            chunks.push(Chunk { prompt: &laid.prompt, rows, table, sampler, reading, ended: None });
        }
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let mut on_layer = |slot: usize| {
            shipping.iter().for_each(|progress| progress.block(slot));
        };
        let compute = &mut self.compute;
        contained("a prefill step", || compute.run(&mut chunks, &mut on_layer)).map_err(model_failure)?;
        shipping.iter().for_each(|progress| progress.stepped());
        let at = Instant::now();
        let mut ended = chunks.into_iter().map(|chunk| chunk.ended).collect::<Vec<_>>().into_iter();
        let end = |&rows: &usize| {
            let ended = if rows > 0 { ended.next().flatten() } else { None };
            ended.map(|ended| ended.map(|drawn| Ended { drawn, at }).map_err(model_failure))
        };
        Ok(rows.iter().map(end).collect())
    }

    /// Sends what was computed of complete prompts. Finished jobs leave the engine; their blocks stay with the shipment and the prefix cache. If
    /// the step failed as a whole, all running jobs fail with its error.
    fn publish(&mut self, outcome: Outcome) {
        let ends = match outcome {
            Ok(ends) => ends,
            Err(error) => {
                let (ran, waiting) = std::mem::take(&mut self.jobs).into_iter().partition(Entry::runs);
                self.jobs = waiting;
                let ran: Vec<Entry> = ran;
                return ran.into_iter().for_each(|entry| fail(entry.work, error.clone()));
            }
        };
        let mut ends = ends.into_iter();
        for entry in std::mem::take(&mut self.jobs) {
            match (ends.next().flatten(), entry) {
                (Some(Ok(ended)), Entry { work, phase: Phase::Running(running) }) => self.finish(work, *running, ended),
                (Some(Err(error)), entry) => fail(entry.work, error),
                (_, entry) => self.jobs.push(entry),
            }
        }
    }

    fn finish(&mut self, work: Work, running: Running, ended: Ended) {
        // Under a relaxed plan, rows whose states are wanted go through blocks that others leave out: their KV is not what
        // another prompt would have there.
        let is_apart = self.limits.last_row_apart && work.job.purpose.reads_all();
        if self.limits.prefix_cache && !is_apart {
            self.prefix.insert(&running.laid.keys, running.table.full_blocks(), &running.used);
        }
        let Ended { drawn, at } = ended;
        let (token, logprob) = drawn.map_or((0, None), |drawn| (drawn.token, drawn.logprob));
        if let Some(progress) = &work.progress {
            progress.close(Closed { first_token: token, compute_end: at });
        }
        let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let first_token = v1::FirstToken {
            token,
            prompt_positions: running.laid.prompt.len() as u32,
            queue_ms: milliseconds(work.job.accepted, running.laid.started),
            prefill_ms: milliseconds(running.laid.started, at),
            cached_positions: running.cached as u32,
            logprob: logprob.map(handshake::logprob),
        };
        let prefilled = Prefilled { first_token, visual: running.laid.visual, reading: running.reading };
        // The receiver is gone when the request was cancelled.
        let _ = work.result.send(Ok(prefilled));
    }

    fn laid(&self) -> usize {
        self.jobs.iter().filter(|entry| matches!(entry.phase, Phase::LaidOut(..))).count()
    }

    fn count(&self) {
        let running = self.jobs.iter().filter(|entry| entry.runs()).count();
        self.gauges.running.store(running as u32, Ordering::Relaxed);
    }
}

fn fail(work: Work, error: ServiceError) {
    // The receiver is gone when the request was cancelled.
    let _ = work.result.send(Err(error));
}

/// Turns a panic of `work` into an error, so that a defect, in a kernel for example, fails the jobs being computed and
/// not the node.
fn contained<T>(what: &'static str, work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ModelError::Defect { what }))
}
