//! Visual pruning of a request: the policy's selection of tokens, with a cache of selections.
//!
//! The picture cache has all visual tokens of a picture, whatever the request's text. The selection of tokens to keep
//! is cached here, for the same pictures, the same text and the same policy.

use std::{sync::Arc, time::Instant};

use secateur_model::{Model, ModelError, VisualTokens};
use secateur_proto::v1;
use secateur_pruning::{Selection, VisualMethod};
use secateur_transfer::visual;

use crate::{
    job::Job,
    pictures::{DigestCache, PictureDigest},
};

/// Memory for selections: a few thousand of them.
const REMEMBERED_BYTES: usize = 16 << 20;

/// A picture's digest and its visual tokens, unpruned.
pub type Seen = (PictureDigest, VisualTokens);

/// Prunes visual tokens, and caches its selections.
pub struct Pruner {
    chosen: DigestCache<Arc<Selection>>,
}

impl Default for Pruner {
    fn default() -> Self {
        Self { chosen: DigestCache::new(REMEMBERED_BYTES) }
    }
}

impl Pruner {
    /// Returns the tokens that are kept of each picture, and the report on the pruning.
    pub fn prune(
        &mut self,
        model: &Model,
        job: &Job,
        seen: Vec<Seen>,
    ) -> Result<(Vec<VisualTokens>, v1::VisualReport), ModelError> {
        let before: usize = seen.iter().map(|(_, tokens)| tokens.unpruned()).sum();
        let shown: usize = seen.iter().map(|(_, tokens)| tokens.len()).sum();
        let started = Instant::now();
        let mut report = v1::VisualReport {
            method: visual::method_to_proto(job.visual.method()) as i32,
            images: seen.len() as u32,
            tokens_before: before as u32,
            tokens_after: shown as u32,
            ..v1::VisualReport::default()
        };
        if seen.is_empty() || acts_before_the_tower(job.visual.method()) || job.visual.keep() >= 1.0 {
            return Ok((seen.into_iter().map(|(_, tokens)| tokens).collect(), report));
        }
        let selection = self.selection(model, job, &seen)?;
        let kept = seen.iter().zip(&selection.kept).map(|((_, tokens), indices)| tokens.keep(indices));
        let kept = kept.collect::<Result<Vec<_>, _>>()?;
        report.tokens_after = kept.iter().map(VisualTokens::len).sum::<usize>() as u32;
        report.bypassed = selection.bypassed as u32;
        report.norm_correlation = selection.alignment_is_norm.map(f64::from);
        report.prune_ms = started.elapsed().as_secs_f64() * 1e3;
        Ok((kept, report))
    }

    fn selection(&mut self, model: &Model, job: &Job, seen: &[Seen]) -> Result<Arc<Selection>, ModelError> {
        let key = key(job, seen);
        if let Some(known) = self.chosen.get(&key) {
            return Ok(known);
        }
        let tokens = seen.iter().map(|(_, tokens)| tokens);
        let selection = Arc::new(model.choose(job.visual, tokens, &job.user_tokens)?);
        let kept: usize = selection.kept.iter().map(Vec::len).sum();
        self.chosen.insert(key, selection.clone(), kept * size_of::<usize>() + size_of::<Selection>());
        if let Some(correlation) = selection.alignment_is_norm {
            tracing::debug!(request = %job.request_id, method = %job.visual.method(), correlation, "rank correlation of text alignment with small norms");
        }
        Ok(selection)
    }
}

/// Whether the method leaves nothing to select after the vision tower: it keeps everything, or has already reduced what
/// the tower is shown.
fn acts_before_the_tower(method: VisualMethod) -> bool {
    matches!(method, VisualMethod::None | VisualMethod::Downsample | VisualMethod::Distinct)
}

/// Digest of everything that a selection depends on: policy, pictures and the user's text.
fn key(job: &Job, seen: &[Seen]) -> PictureDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(job.visual.method().as_str().as_bytes());
    hasher.update(&job.visual.keep().to_le_bytes());
    hasher.update(&(seen.len() as u64).to_le_bytes());
    for (digest, _) in seen {
        hasher.update(digest);
    }
    for token in &job.user_tokens {
        hasher.update(&token.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}
