//! Input and output of the engine: jobs, results, gauges and limits.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64},
};

use secateur_common::shutdown::CancellationToken;
use secateur_grammar::Constraint;
use secateur_model::Picture;
use secateur_proto::{ServiceError, v1};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use secateur_node::prefix::PictureDigest;

use crate::{job::Job, progress::Reporter, reading::Reading};

/// Result of a prefill, sent when the prompt is computed.
pub struct Prefilled {
    /// The first token, forwarded to the router at once, with the figures of the prefill; where no token is drawn, the
    /// figures alone count.
    pub first_token: v1::FirstToken,
    /// Report on visual pruning.
    pub visual: v1::VisualReport,
    /// What was read off the prompt's rows besides.
    pub reading: Option<Reading>,
}

/// A job on its way to the engine thread.
pub struct Work {
    /// The request.
    pub job: Arc<Job>,
    /// The request's pictures, decoded, with their digests.
    pub pictures: Vec<(PictureDigest, Picture)>,
    /// Permit to hold decoded pictures, which are large; released once they have been through the vision tower.
    pub decoding: Option<OwnedSemaphorePermit>,
    /// State of the answer's grammar in front of its first token, if it has one.
    pub constraint: Option<Constraint>,
    /// Progress reports to the ship task, if the KV is shipped.
    pub progress: Option<Reporter>,
    /// Channel for the result, to the task that answers the request.
    pub result: oneshot::Sender<Result<Prefilled, ServiceError>>,
    /// Token that is cancelled when the request ends before its result.
    pub cancelled: CancellationToken,
}

/// Gauges of the engine, written by its thread and read for the node's description.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Number of jobs that have their blocks.
    pub running: AtomicU32,
    /// Total positions looked up in the prefix cache.
    pub prefix_queries: AtomicU64,
    /// Total positions found in the prefix cache.
    pub prefix_hits: AtomicU64,
}

/// Limits of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of jobs that may wait.
    pub queue: u32,
    /// Name of the number formats of the computation, part of the prefix cache's keys.
    pub computed_as: &'static str,
    /// Most rows computed in one step.
    pub step_tokens: usize,
    /// Bytes of the cache of visual tokens, for pictures that come again.
    pub picture_cache: usize,
    /// Whether finished KV is kept for prompts that begin alike.
    pub prefix_cache: bool,
    /// Whether a prompt's last row is computed by other model blocks than the rows before it (a relaxed plan). The KV
    /// of that row then differs from what a longer prompt would have there, so its KV block is not cached.
    pub last_row_apart: bool,
}
