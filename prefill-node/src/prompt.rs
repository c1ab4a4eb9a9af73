//! From a job to the sequence that is prefilled: pictures are decoded, seen and pruned; positions come after, so the
//! kept tokens are contiguous (architecture, invariant 8).

use std::time::Instant;

use secateur_common::shutdown::CancellationToken;
use secateur_model::{Model, ModelError, Picture, PictureLimits, Segment, VisualTokens};
use secateur_node::handshake::model_failure;
use secateur_proto::{ErrorCode, ServiceError, v1};
use secateur_pruning::{Rows, VisualMethod, budget, trimtokenator};
use secateur_transfer::visual;

use crate::job::{Job, Piece};

/// The sequence to prefill, and what pruning did to it.
pub struct Prompt<'a> {
    /// Text and kept visual tokens in order.
    pub segments: Vec<Segment<'a>>,
    /// Positions that they fill.
    pub positions: usize,
    /// What pruning did.
    pub report: v1::VisualReport,
}

/// Sees and prunes the pictures of `job` and puts its sequence together.
pub fn assemble<'a>(model: &Model, job: &'a Job, cancelled: &CancellationToken) -> Result<Prompt<'a>, ServiceError> {
    // Before any picture is looked at: what cannot fit costs nothing.
    check_length(model, job.positions(model.info()))?;
    let mut kept = Vec::with_capacity(job.images.len());
    let (mut tokens_before, mut prune_ms) = (0, 0.0);
    for (index, encoded) in job.images.iter().enumerate() {
        if cancelled.is_cancelled() {
            return Err(model_failure(ModelError::Cancelled));
        }
        let seen = see(model, encoded, index)?;
        tokens_before += seen.len();
        let started = Instant::now();
        kept.push(prune(model, job, seen).map_err(model_failure)?);
        prune_ms += started.elapsed().as_secs_f64() * 1e3;
    }
    let tokens_after: usize = kept.iter().map(VisualTokens::len).sum();
    let report = v1::VisualReport {
        method: visual::method_to_proto(job.visual.method()) as i32,
        images: job.images.len() as u32,
        tokens_before: tokens_before as u32,
        tokens_after: tokens_after as u32,
        prune_ms,
    };
    let text_tokens = job.tokens.len() - job.images.len();
    let mut visual_tokens = kept.into_iter();
    let segments = job.pieces.iter().map(|piece| match piece {
        Piece::Text(range) => Segment::Text(&job.tokens[range.clone()]),
        // `Job::new` proved that there is one picture for each image token, in order.
        Piece::Image(_) => visual_tokens.next().map_or(Segment::Text(&[]), Segment::Visual),
    });
    Ok(Prompt { segments: segments.collect(), positions: text_tokens + tokens_after, report })
}

fn see(model: &Model, encoded: &[u8], index: usize) -> Result<VisualTokens, ServiceError> {
    let at_fault = |error: ServiceError| match error.code {
        ErrorCode::InvalidImage => error.with_param(format!("images[{index}]")),
        _ => error,
    };
    let picture = Picture::decode(encoded, &PictureLimits::default())
        .map_err(|error| at_fault(model_failure(ModelError::Picture(error))))?;
    let mut seen = model.see(&[picture]).map_err(|error| at_fault(model_failure(error)))?;
    seen.pop().ok_or_else(|| ServiceError::new(ErrorCode::Internal, "the vision tower returned nothing"))
}

fn prune(model: &Model, job: &Job, seen: VisualTokens) -> Result<VisualTokens, ModelError> {
    let keep = budget::kept(seen.len(), job.visual.keep());
    if keep >= seen.len() {
        return Ok(seen);
    }
    match job.visual.method() {
        VisualMethod::None => Ok(seen),
        VisualMethod::TrimTokenator => {
            let visual = seen.rows()?;
            // No words of the user's, no stage 1 (the specification's step 1).
            let text = if job.user_tokens.is_empty() { Vec::new() } else { model.embed_rows(&job.user_tokens)?.data };
            let rows = |data, width| Rows::new(data, width).map_err(|error| shape_error(error.to_string()));
            let (visual, text) = (rows(&visual.data, visual.width)?, rows(&text, visual.width)?);
            let indices = trimtokenator::select(visual, text, keep, trimtokenator::STAGE1_RATIO);
            seen.keep(&indices)
        }
    }
}

fn shape_error(problem: String) -> ModelError {
    ModelError::Config { field: "text_config.hidden_size".to_owned(), problem }
}

fn check_length(model: &Model, positions: usize) -> Result<(), ServiceError> {
    let limit = model.info().max_positions;
    if positions > limit {
        let text = format!("the prompt fills {positions} positions; the model's maximum context length is {limit}");
        return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text).with_param("messages"));
    }
    Ok(())
}
