//! Runs pictures through the vision tower and lays prompts out, between two steps.

use std::{collections::HashMap, time::Instant};

use secateur_model::{BLOCK_POSITIONS, ModelError, Picture, VisualTokens};
use secateur_node::{
    handshake::model_failure,
    prefix::{self, PictureDigest},
};
use secateur_proto::{ErrorCode, ServiceError};

use super::{Core, LAID_MAX, contained, entry::LaidOut, fail, work::Work};
use crate::{compute::Compute, pictures::DigestCache, prune::Seen};

/// Most pictures that go through the vision tower between two steps: enough to fill the processor, few enough not to
/// stall prompts.
const PICTURES_PER_STEP: usize = 4;

/// Visual tokens of the pictures that went through the vision tower just now, by digest.
type Fresh = HashMap<PictureDigest, VisualTokens>;

impl<C: Compute> Core<C> {
    /// Runs the pictures of the oldest queued jobs through the vision tower in one batch, and lays these jobs' prompts
    /// out.
    pub(super) fn look(&mut self) {
        let jobs_max = LAID_MAX.saturating_sub(self.laid());
        let mut room = PICTURES_PER_STEP;
        let mut chosen = 0;
        for entry in self.jobs.iter().filter(|entry| entry.is_queued()).take(jobs_max) {
            let pictures = entry.work.pictures.len();
            // A job with more pictures than fit into a batch is taken alone.
            if pictures > room && chosen > 0 {
                break;
            }
            room = room.saturating_sub(pictures);
            chosen += 1;
        }
        let fresh = self.see_unknown(chosen);
        let mut left = chosen;
        let mut at = 0;
        while left > 0 && at < self.jobs.len() {
            if !self.jobs[at].is_queued() {
                at += 1;
                continue;
            }
            left -= 1;
            match self.lay_out(at, &fresh) {
                Ok(laid) => {
                    self.jobs[at].lay(laid);
                    at += 1;
                }
                Err(error) => fail(self.jobs.remove(at).work, error),
            }
        }
    }

    /// Runs the pictures of the first `chosen` queued jobs that are not cached through the vision tower, as one batch.
    /// If that fails, or only one picture is unknown, `lay_out` runs them one by one and reports errors.
    fn see_unknown(&mut self, chosen: usize) -> Fresh {
        let queued = self.jobs.iter().filter(|entry| entry.is_queued()).take(chosen);
        let mut unknown: Vec<&(PictureDigest, Picture)> = Vec::new();
        for picture in queued.flat_map(|entry| &entry.work.pictures) {
            if self.pictures.get(&picture.0).is_none() && !unknown.iter().any(|other| other.0 == picture.0) {
                unknown.push(picture);
            }
        }
        unknown.truncate(PICTURES_PER_STEP);
        if unknown.len() < 2 {
            return Fresh::new();
        }
        let pictures: Vec<Picture> = unknown.iter().map(|(_, picture)| picture.clone()).collect();
        let compute = &mut self.compute;
        let seen = contained("looking at pictures", || compute.see(&pictures));
        let digests = unknown.into_iter().map(|(digest, _)| *digest);
        let fresh: Fresh = digests.zip(seen.unwrap_or_default()).collect();
        for (digest, tokens) in &fresh {
            remember(&mut self.pictures, digest, tokens.clone());
        }
        fresh
    }

    fn lay_out(&mut self, at: usize, fresh: &Fresh) -> Result<LaidOut, ServiceError> {
        let started = Instant::now();
        let Work { job, pictures, cancelled, .. } = &self.jobs[at].work;
        let mut seen: Vec<Seen> = Vec::with_capacity(pictures.len());
        for (index, (digest, picture)) in pictures.iter().enumerate() {
            if cancelled.is_cancelled() {
                return Err(model_failure(ModelError::Cancelled));
            }
            let tokens = match fresh.get(digest).cloned().or_else(|| self.pictures.get(digest)) {
                Some(tokens) => tokens,
                None => {
                    let compute = &mut self.compute;
                    let mut tokens = contained("looking at a picture", || compute.see(std::slice::from_ref(picture)))
                        .map_err(|error| at_picture(model_failure(error), index))?;
                    let tokens = tokens.pop().ok_or_else(|| internal("the vision tower returned nothing"))?;
                    remember(&mut self.pictures, digest, tokens.clone());
                    tokens
                }
            };
            seen.push((*digest, tokens));
        }
        let compute = &mut self.compute;
        let (prompt, visual) = contained("laying out a prompt", || compute.assemble(job, seen)).map_err(too_long)?;
        let held = self.pool.blocks() * BLOCK_POSITIONS;
        if prompt.len() > held {
            return Err(too_long(ModelError::ContextTooLong { tokens: prompt.len(), limit: held }));
        }
        let digests: Vec<PictureDigest> = pictures.iter().map(|(digest, _)| *digest).collect();
        let kept = &prompt.rows()[..prompt.len() - usize::from(self.limits.last_row_apart)];
        let keys = prefix::keys(self.limits.computed_as, kept, &digests);
        Ok(LaidOut { prompt, visual, keys, started })
    }
}

fn remember(pictures: &mut DigestCache<VisualTokens>, digest: &PictureDigest, tokens: VisualTokens) {
    let bytes = size_of_val(tokens.data());
    pictures.insert(*digest, tokens, bytes);
}

fn at_picture(error: ServiceError, index: usize) -> ServiceError {
    match error.code {
        ErrorCode::InvalidImage => error.with_param(format!("images[{index}]")),
        _ => error,
    }
}

fn too_long(error: ModelError) -> ServiceError {
    let tells = matches!(error, ModelError::ContextTooLong { .. });
    let error = model_failure(error);
    if tells { error.with_param("messages") } else { error }
}

fn internal(text: &str) -> ServiceError {
    ServiceError::new(ErrorCode::Internal, text)
}
