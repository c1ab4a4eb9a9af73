//! The computation: one thread; every step computes rows of several prompts, which join and leave between steps.
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
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use secateur_model::{BLOCK_POSITIONS, Block, BlockTable, Drawn, KvPool, ModelError, VisualTokens, blocks_for};
use secateur_node::{
    Place, Places,
    handshake::{self, model_failure},
    prefix::SharedPrefix,
};
use secateur_proto::{ErrorCode, ServiceError, v1};

pub use self::work::{Limits, Prefilled, Work};
use self::{
    entry::{Entry, Running, Stage},
    work::Gauges,
};
use crate::{
    compute::{Chunk, Compute},
    pictures::DigestCache,
    progress::{Closed, Reporter},
    schedule::chunks,
    stall::Shortage,
};

/// Prompts that are laid out and wait for blocks: what their pictures became is in memory.
const LAID_MAX: usize = 32;
/// How long to wait before looking again when every prompt waits for blocks that shipments hold.
const PATIENCE: Duration = Duration::from_millis(2);

/// The handle to the engine thread.
pub struct Engine {
    incoming: Sender<(Work, Place)>,
    queue: Places,
    shortage: Shortage,
    gauges: Arc<Gauges>,
    prefix: SharedPrefix,
}

impl Engine {
    /// Starts the thread that owns the computation.
    pub fn start(compute: impl Compute, pool: KvPool, limits: Limits) -> std::io::Result<Self> {
        let (sender, incoming) = channel();
        let (gauges, shortage) = (Arc::new(Gauges::default()), Shortage::default());
        let prefix = SharedPrefix::default();
        let mut core = Core {
            compute,
            incoming,
            jobs: Vec::new(),
            pool,
            prefix: prefix.clone(),
            pictures: DigestCache::new(limits.picture_cache),
            limits,
            shortage: shortage.clone(),
            gauges: gauges.clone(),
        };
        thread::Builder::new().name("prefill-engine".into()).spawn(move || {
            while core.take_in() {
                core.look();
                core.admit();
                let rows = core.schedule();
                let outcome = core.compute(&rows);
                core.publish(outcome);
            }
        })?;
        Ok(Self { incoming: sender, queue: Places::new(limits.queue), shortage, gauges, prefix })
    }

    /// Queues a job, or says that the queue is full.
    pub fn submit(&self, work: Work) -> Result<(), ServiceError> {
        let place = self.queue.take().ok_or_else(|| {
            let limit = self.queue.limit();
            let text = format!("the prefill node's queue of {limit} prompts is full; try again shortly");
            ServiceError::new(ErrorCode::Overloaded, text)
        })?;
        let stopped = |_| ServiceError::new(ErrorCode::Unavailable, "the prefill engine has stopped");
        self.incoming.send((work, place)).map_err(stopped)
    }

    /// What it says of itself.
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Whether prompts wait for blocks.
    pub fn shortage(&self) -> &Shortage {
        &self.shortage
    }

    /// Blocks that only the prefix cache holds.
    pub fn reclaimable(&self) -> usize {
        self.prefix.reclaimable()
    }

    /// Jobs that were submitted and wait for blocks, or for their pictures to be looked at.
    pub fn queue(&self) -> &Places {
        &self.queue
    }
}

/// What the engine thread owns.
struct Core<C> {
    compute: C,
    incoming: Receiver<(Work, Place)>,
    /// In the order in which they came.
    jobs: Vec<Entry>,
    pool: KvPool,
    prefix: SharedPrefix,
    pictures: DigestCache<VisualTokens>,
    limits: Limits,
    shortage: Shortage,
    gauges: Arc<Gauges>,
}

/// What came of a step: for each job, the first token if it is through, or why there is none.
type Outcome = Result<Vec<Option<Result<Token, ServiceError>>>, ServiceError>;

struct Token {
    drawn: Drawn,
    at: Instant,
}

impl<C: Compute> Core<C> {
    /// Takes in what has come and lets go of what nobody waits for; sleeps when there is nothing to do. False: no handle
    /// is left.
    fn take_in(&mut self) -> bool {
        self.jobs.retain(|entry| !entry.work.cancelled.is_cancelled());
        self.count();
        let laid = self.laid();
        let waits = laid == self.jobs.len() || (laid >= LAID_MAX && !self.jobs.iter().any(Entry::runs));
        match self.jobs.is_empty() {
            true => {
                self.shortage.set(false);
                match self.incoming.recv() {
                    Ok(came) => self.jobs.push(Entry::new(came)),
                    Err(_) => return false,
                }
            }
            // Blocks come back when shipments end, on other threads.
            false if waits => match self.incoming.recv_timeout(PATIENCE) {
                Ok(came) => self.jobs.push(Entry::new(came)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            },
            false => {}
        }
        self.jobs.extend(self.incoming.try_iter().map(Entry::new));
        self.count();
        true
    }

    /// Gives blocks to those that wait, and says whether some go on waiting.
    fn admit(&mut self) {
        let all_run = self.give_out();
        self.shortage.set(!all_run);
    }

    /// First come, first served; false when there are no blocks for the next one.
    fn give_out(&mut self) -> bool {
        for at in 0..self.jobs.len() {
            let Stage::Laid(laid, _) = &self.jobs[at].stage else { continue };
            let positions = laid.prompt.len();
            // The last row is always computed: its logits are wanted.
            let usable = (positions - 1) / BLOCK_POSITIONS;
            let usable = if self.limits.prefix_cache { usable.min(laid.keys.len()) } else { 0 };
            let (shared, used) = self.prefix.take(&laid.keys[..usable]);
            let cached = shared.len() * BLOCK_POSITIONS;
            let Some(blocks) = self.lease(blocks_for(positions) - shared.len()) else { return false };
            let mut table = BlockTable::with_prefix(&self.pool, shared);
            table.grow(blocks);
            self.gauges.prefix_queries.fetch_add(positions as u64, Ordering::Relaxed);
            self.gauges.prefix_hits.fetch_add(cached as u64, Ordering::Relaxed);
            self.jobs[at].run(table, used, cached);
            if let Entry { work: Work { progress: Some(progress), .. }, stage: Stage::Running(running) } =
                &self.jobs[at]
            {
                running.announce(progress);
            }
        }
        true
    }

    /// Free blocks; what only the prefix cache holds is freed for them.
    fn lease(&mut self, count: usize) -> Option<Vec<Block>> {
        loop {
            if let Some(blocks) = self.pool.lease(count) {
                return Some(blocks);
            }
            if !self.prefix.evict() {
                return None;
            }
        }
    }

    /// How many rows of each job the next step computes; 0 for those that wait.
    fn schedule(&self) -> Vec<usize> {
        let remaining = |entry: &Entry| match &entry.stage {
            Stage::Running(running) => Some(running.laid.prompt.len() - running.table.len()),
            _ => None,
        };
        let running: Vec<usize> = self.jobs.iter().filter_map(remaining).collect();
        let mut granted = chunks(&running, self.limits.step_tokens).into_iter();
        self.jobs.iter().map(|entry| remaining(entry).and_then(|_| granted.next()).unwrap_or(0)).collect()
    }

    /// Computes a step. Ship tasks are told of each block as it is done.
    fn compute(&mut self, rows: &[usize]) -> Outcome {
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        let mut shipping: Vec<&Reporter> = Vec::new();
        for (entry, &rows) in self.jobs.iter_mut().zip(rows).filter(|(_, rows)| **rows > 0) {
            let Stage::Running(running) = &mut entry.stage else { continue };
            let Running { laid, table, sampler, .. } = &mut **running;
            let rows = table.len()..table.len() + rows;
            if let Some(progress) = &entry.work.progress {
                progress.step(rows.end as u32);
                shipping.push(progress);
            }
            chunks.push(Chunk { prompt: &laid.prompt, rows, table, sampler, drawn: None });
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
        let mut drawn = chunks.into_iter().map(|chunk| chunk.drawn).collect::<Vec<_>>().into_iter();
        let token = |&rows: &usize| {
            let drawn = if rows > 0 { drawn.next().flatten() } else { None };
            drawn.map(|drawn| drawn.map(|drawn| Token { drawn, at }).map_err(model_failure))
        };
        Ok(rows.iter().map(token).collect())
    }

    /// Sends first tokens; jobs that are through leave, and their blocks stay with shipment and prefix cache.
    fn publish(&mut self, outcome: Outcome) {
        let tokens = match outcome {
            Ok(tokens) => tokens,
            Err(error) => {
                let (ran, waiting) = std::mem::take(&mut self.jobs).into_iter().partition(Entry::runs);
                self.jobs = waiting;
                let ran: Vec<Entry> = ran;
                return ran.into_iter().for_each(|entry| fail(entry.work, error.clone()));
            }
        };
        let mut tokens = tokens.into_iter();
        for entry in std::mem::take(&mut self.jobs) {
            match (tokens.next().flatten(), entry) {
                (Some(Ok(token)), Entry { work, stage: Stage::Running(running) }) => self.finish(work, *running, token),
                (Some(Err(error)), entry) => fail(entry.work, error),
                (_, entry) => self.jobs.push(entry),
            }
        }
    }

    fn finish(&mut self, work: Work, running: Running, token: Token) {
        if self.limits.prefix_cache {
            self.prefix.insert(&running.laid.keys, running.table.full_blocks(), &running.used);
        }
        if let Some(progress) = &work.progress {
            progress.close(Closed { first_token: token.drawn.token, compute_end: token.at });
        }
        let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let first_token = v1::FirstToken {
            token: token.drawn.token,
            prompt_positions: running.laid.prompt.len() as u32,
            queue_ms: milliseconds(work.job.accepted, running.laid.started),
            prefill_ms: milliseconds(running.laid.started, token.at),
            cached_positions: running.cached as u32,
            logprob: token.drawn.logprob.map(handshake::logprob),
        };
        // The receiver is gone when the request was cancelled.
        let _ = work.result.send(Ok(Prefilled { first_token, visual: running.laid.visual }));
    }

    fn laid(&self) -> usize {
        self.jobs.iter().filter(|entry| matches!(entry.stage, Stage::Laid(..))).count()
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

/// A defect that panics, in a kernel for example, fails what was computed and not the node.
fn contained<T>(what: &'static str, work: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ModelError::Defect { what }))
}
