//! What goes into the engine and what comes out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
    time::Instant,
};

use secateur_common::shutdown::CancellationToken;
use secateur_model::Picture;
use secateur_proto::{ServiceError, v1};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::shared::UsedView;
use crate::{job::Job, prefix::PictureDigest};

/// What the ship task is told, in order.
pub enum ShipStep {
    /// The prompt's length is known: the manifest can be made.
    Start {
        /// Positions that the prompt fills.
        positions: u32,
        /// The rotary position behind it.
        next_position: u32,
    },
    /// One block's KV is there for every position.
    Layer {
        /// Its place among the blocks that this node runs.
        slot: usize,
        /// Where it lies; keeps it there.
        view: UsedView,
    },
    /// Every block's KV is there and the first token drawn.
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
    /// Its pictures, decoded, with their digests.
    pub pictures: Vec<(PictureDigest, Picture)>,
    /// The right to hold decoded pictures, which are large; given back once they were looked at.
    pub decoding: Option<OwnedSemaphorePermit>,
    /// To the ship task, if the KV is shipped. Room for every step, so that a slow link never stalls the engine: what
    /// waits here are blocks of the pool.
    pub steps: Option<mpsc::Sender<ShipStep>>,
    /// To the response.
    pub result: oneshot::Sender<Result<Prefilled, ServiceError>>,
    /// Cancelled when nobody waits any more.
    pub cancelled: CancellationToken,
}

/// What the engine says of itself.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Jobs that have their blocks.
    pub running: AtomicU32,
    /// Positions looked up in the prefix cache.
    pub prefix_queries: AtomicU64,
    /// Positions found there.
    pub prefix_hits: AtomicU64,
}

/// Limits of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait.
    pub queue: u32,
    /// Rows computed in one step.
    pub step_tokens: usize,
    /// Bytes of visual tokens that are kept for pictures that come again.
    pub picture_cache: usize,
    /// Whether finished KV is kept for prompts that begin alike.
    pub prefix_cache: bool,
    /// Whether a prompt's last row is computed by other blocks than the rows before it (a relaxed plan): its KV is not what
    /// a longer prompt would have there, so its block is not kept.
    pub last_row_apart: bool,
}
