//! What goes into the engine and what comes out.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64},
};

use secateur_common::shutdown::CancellationToken;
use secateur_model::Picture;
use secateur_proto::{ServiceError, v1};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use secateur_node::prefix::PictureDigest;

use crate::{job::Job, progress::Reporter};

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
    /// To the ship task, if the KV is shipped.
    pub progress: Option<Reporter>,
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
    /// How numbers are kept: part of what a block is known by.
    pub computed_as: &'static str,
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
