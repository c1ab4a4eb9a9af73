//! The computation: one thread, one prompt after another.
//!
//! ```text
//! queue (bounded) ──▶ see ▸ prune ▸ prefill ──▶ ShipStep::Start, Layer, Layer, … Close   to the job's ship task
//!                                      └──────▶ Progress::FirstToken                      to the job's response
//! ```

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Instant,
};

use secateur_common::shutdown::CancellationToken;
use secateur_model::{LayerKv, Model, Sampler};
use secateur_node::{Identity, handshake::model_failure};
use secateur_proto::{ErrorCode, ServiceError, v1};
use tokio::sync::{mpsc, oneshot};

use crate::{
    job::Job,
    prompt::{self, Prompt},
};

/// What the ship task is told, in order.
pub enum ShipStep {
    /// The prompt's length is known: the manifest can be made.
    Start {
        /// Positions that the prompt fills.
        positions: u32,
    },
    /// One block's KV.
    Layer(LayerKv),
    /// Every block's KV is out and the first token drawn.
    Close {
        /// The first token.
        first_token: u32,
        /// When the last block was computed.
        compute_end: Instant,
    },
}

/// What the engine found, sent when the first token exists.
pub struct Prefilled {
    /// For the router, at once.
    pub first_token: v1::FirstToken,
    /// What visual pruning did.
    pub visual: v1::VisualReport,
}

/// A job on its way to the engine thread.
pub struct Work {
    /// The request.
    pub job: Arc<Job>,
    /// To the ship task. Room for every step of a prompt, so that a slow link never stalls the engine: what waits here
    /// is bounded by the KV memory that jobs reserve before they are queued.
    pub steps: mpsc::Sender<ShipStep>,
    /// To the response.
    pub result: oneshot::Sender<Result<Prefilled, ServiceError>>,
    /// Cancelled when nobody waits any more.
    pub cancelled: CancellationToken,
}

/// The handle to the engine thread.
pub struct Engine {
    queue: mpsc::Sender<Work>,
    queue_limit: u32,
    running: Arc<AtomicU32>,
}

impl Engine {
    /// Starts the thread that owns the computation.
    pub fn start(model: Model, identity: Arc<Identity>, queue_limit: u32) -> std::io::Result<Self> {
        let (queue, mut work) = mpsc::channel::<Work>(queue_limit as usize);
        let running = Arc::new(AtomicU32::new(0));
        let counter = running.clone();
        thread::Builder::new().name("prefill-engine".into()).spawn(move || {
            // Ends when the last handle is dropped.
            while let Some(work) = work.blocking_recv() {
                counter.store(1, Ordering::Relaxed);
                run(&model, &identity, work);
                counter.store(0, Ordering::Relaxed);
            }
        })?;
        Ok(Self { queue, queue_limit, running })
    }

    /// Queues a job, or says that the queue is full.
    pub fn submit(&self, work: Work) -> Result<(), ServiceError> {
        self.queue.try_send(work).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let text =
                    format!("the prefill node's queue of {} prompts is full; try again shortly", self.queue_limit);
                ServiceError::new(ErrorCode::Overloaded, text)
            }
            mpsc::error::TrySendError::Closed(_) => {
                ServiceError::new(ErrorCode::Unavailable, "the prefill engine has stopped")
            }
        })
    }

    /// Jobs that run at this moment.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Jobs that wait.
    pub fn waiting(&self) -> u32 {
        self.queue_limit - self.queue.capacity() as u32
    }
}

/// A defect that panics, in an image decoder for example, fails this job and not the node.
fn run(model: &Model, identity: &Identity, work: Work) {
    if work.cancelled.is_cancelled() {
        return;
    }
    let result = catch_unwind(AssertUnwindSafe(|| prefill(model, &work)))
        .unwrap_or_else(|_| Err(ServiceError::new(ErrorCode::Internal, "prefill failed; the node's log says why")));
    if let Err(error) = &result {
        tracing::info!(node = %identity.node_id, request = %work.job.request_id, code = error.code.as_str(), %error, "prefill failed");
    }
    // The receiver is gone when the request was cancelled.
    let _ = work.result.send(result);
}

fn prefill(model: &Model, work: &Work) -> Result<Prefilled, ServiceError> {
    let started = Instant::now();
    let job = &*work.job;
    let Prompt { segments, positions, report } = prompt::assemble(model, job, &work.cancelled)?;
    let positions = positions as u32;
    // Steps are lost only when the ship task has ended, which cancels the job or reports its own error.
    let send = |step| work.steps.try_send(step).is_ok();
    let ships = job.decode_address.is_some();
    if ships {
        send(ShipStep::Start { positions });
    }
    let mut on_layer = |kv: LayerKv| {
        let goes_on = !work.cancelled.is_cancelled() && (!ships || send(ShipStep::Layer(kv)));
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let logits = model.prefill(&segments, &mut on_layer).map_err(model_failure)?;
    let token = Sampler::pick(&job.sampling, job.sampling.seed.unwrap_or_default(), 0, &logits);
    let compute_end = Instant::now();
    if ships {
        send(ShipStep::Close { first_token: token, compute_end });
    }
    let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
    let first_token = v1::FirstToken {
        token,
        prompt_positions: positions,
        queue_ms: milliseconds(job.accepted, started),
        prefill_ms: milliseconds(started, compute_end),
    };
    Ok(Prefilled { first_token, visual: report })
}
