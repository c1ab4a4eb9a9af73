//! The computation: one thread; every running sequence moves one token per step, and sequences join and leave between
//! steps.
//!
//! ```text
//! queue ──▶ admit ──▶ step ──▶ publish ──┐
//!             ▲                          │
//!             └──────────────────────────┘
//! ```

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Instant,
};

use secateur_common::shutdown::CancellationToken;
use secateur_model::{KvCache, Model, Sampler};
use secateur_node::{Reservation, handshake::model_failure};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{DecodeDone, Tokens, decode_done::Reason, generate_event::Event},
};
use tokio::sync::mpsc;

use crate::sequence::{Next, Sequence};

/// Where a sequence's events go. Room for its whole answer, so that a slow client never stalls a step.
pub type Events = mpsc::Sender<Result<Event, ServiceError>>;

/// A sequence on its way to the engine thread, and while it runs.
pub struct Running {
    /// The answer.
    pub sequence: Sequence,
    /// Its KV.
    pub cache: KvCache,
    /// The memory that the KV lies in.
    #[allow(dead_code, reason = "held for its drop")]
    pub reservation: Reservation,
    /// Where its events go.
    pub events: Events,
    /// Cancelled when nobody listens any more.
    pub cancelled: CancellationToken,
    /// When its KV was complete.
    pub started: Instant,
}

/// The handle to the engine thread.
pub struct Engine {
    queue: mpsc::Sender<Running>,
    running: Arc<AtomicU32>,
}

impl Engine {
    /// Starts the thread that owns the computation; at most `max_running` sequences run at the same time.
    pub fn start(model: Arc<Model>, max_running: u32) -> std::io::Result<Self> {
        let (queue, incoming) = mpsc::channel(max_running as usize);
        let running = Arc::new(AtomicU32::new(0));
        let mut core =
            Core { model, incoming, running: Vec::new(), max_running: max_running as usize, gauge: running.clone() };
        thread::Builder::new().name("decode-engine".into()).spawn(move || {
            while core.admit() {
                core.step();
            }
        })?;
        Ok(Self { queue, running })
    }

    /// Hands a sequence to the engine; waits while its queue is full (the caller holds KV memory, so this is bounded).
    pub async fn submit(&self, sequence: Running) -> Result<(), ServiceError> {
        let stopped = |_| ServiceError::new(ErrorCode::Unavailable, "the decode engine has stopped");
        self.queue.send(sequence).await.map_err(stopped)
    }

    /// Sequences that run at this moment.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }
}

/// What the engine thread owns.
struct Core {
    model: Arc<Model>,
    incoming: mpsc::Receiver<Running>,
    running: Vec<Running>,
    max_running: usize,
    gauge: Arc<AtomicU32>,
}

impl Core {
    /// Takes in what waits; sleeps when there is nothing to do. False: no handle is left.
    fn admit(&mut self) -> bool {
        self.gauge.store(self.running.len() as u32, Ordering::Relaxed);
        if self.running.is_empty() {
            match self.incoming.blocking_recv() {
                Some(sequence) => self.running.push(sequence),
                None => return false,
            }
        }
        while self.running.len() < self.max_running {
            match self.incoming.try_recv() {
                Ok(sequence) => self.running.push(sequence),
                Err(_) => break,
            }
        }
        self.gauge.store(self.running.len() as u32, Ordering::Relaxed);
        true
    }

    /// One token for every running sequence; those that end are dropped, and their memory with them.
    fn step(&mut self) {
        let model = &self.model;
        self.running.retain_mut(|sequence| advance(model, sequence));
    }
}

/// Moves one sequence by one token; false when it is over. A defect that panics ends this sequence, not the node.
fn advance(model: &Model, running: &mut Running) -> bool {
    if running.cancelled.is_cancelled() {
        return false;
    }
    catch_unwind(AssertUnwindSafe(|| step(model, running))).unwrap_or_else(|_| {
        publish(
            &running.events,
            Err(ServiceError::new(ErrorCode::Internal, "the decode step failed; the log says why")),
        );
        false
    })
}

fn step(model: &Model, running: &mut Running) -> bool {
    let logits = match model.decode_step(&mut running.cache, running.sequence.last()) {
        Ok(logits) => logits,
        Err(error) => {
            publish(&running.events, Err(model_failure(error)));
            return false;
        }
    };
    let (sampling, seed, index) = running.sequence.draw();
    let token = Sampler::pick(sampling, seed, index, &logits);
    match running.sequence.push(token) {
        Next::Token { index, id } => {
            publish(&running.events, Ok(Event::Tokens(Tokens { index, ids: vec![id] })));
            true
        }
        Next::Last { index, id } => {
            publish(&running.events, Ok(Event::Tokens(Tokens { index, ids: vec![id] })));
            publish(&running.events, Ok(Event::Done(done(running, Reason::Length))));
            false
        }
        Next::Stop => {
            publish(&running.events, Ok(Event::Done(done(running, Reason::Stop))));
            false
        }
    }
}

fn done(running: &Running, reason: Reason) -> DecodeDone {
    let decode_ms = running.started.elapsed().as_secs_f64() * 1e3;
    DecodeDone { reason: reason as i32, decode_ms, tokens: running.sequence.generated() }
}

fn publish(events: &Events, event: Result<Event, ServiceError>) {
    // Fails only when the listener is gone; its leash then cancels the sequence before the next step.
    let _ = events.try_send(event);
}
