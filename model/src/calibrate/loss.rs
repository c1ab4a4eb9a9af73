//! The loss of an answer when its prompt and the answer itself run given sets of blocks.

use std::ops::Range;

use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::repairs::Repairs;
use crate::calibrate::samples::{Held, Sample};
use crate::calibrate::trial::{Boundaries, Trial};
use crate::error::{ModelError, Result};
use crate::language::Workspace;
use crate::model::Model;

/// Measures the loss that leaving blocks out causes, on a model that is loaded whole.
///
/// It caches the last pass of every batch: the KV of its samples and, as far as `cache_bytes` allow, the residual
/// stream before every block. The next pass of the batch restarts at the first block whose role changed.
pub struct Calibrator<'a> {
    pub(super) model: &'a Model,
    pub(super) held: Held,
    pub(super) space: Workspace,
    prefill: Vec<Passed>,
    decode: Vec<Passed>,
    cache_bytes: usize,
    blocks_run: u64,
    blocks_saved: u64,
}

/// Cached results of the last pass of one batch in one phase.
struct Passed {
    /// Roles of that pass; `None` if no pass has run yet or its results are not to be reused.
    roles: Option<Roles>,
    /// Residual streams before each block; `None` if they exceed the cache's memory.
    boundaries: Option<Boundaries>,
    /// Sum of the losses of each sample.
    losses: Vec<f64>,
}

/// Mean negative log-likelihood of the answers' tokens, in nats per token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Mean over all samples.
    pub all: f64,
    /// Mean over the samples that fits of repairs do not see; over all samples where there are too few to hold any out.
    pub held_out: f64,
}

impl<'a> Calibrator<'a> {
    /// A calibrator over `samples`, which keeps residual streams in at most `cache_bytes`.
    pub fn new(model: &'a Model, samples: Vec<Sample>, cache_bytes: usize) -> Result<Calibrator<'a>, ModelError> {
        if samples.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let held = Held::new(model, samples)?;
        let space = Workspace::default();
        let (prefill, decode) = (Vec::new(), Vec::new());
        let mut calibrator =
            Calibrator { model, held, space, prefill, decode, cache_bytes, blocks_run: 0, blocks_saved: 0 };
        calibrator.forget();
        Ok(calibrator)
    }

    /// Number of blocks in the checkpoint.
    pub fn layers(&self) -> usize {
        self.model.info().layers
    }

    /// Fingerprint of the checkpoint.
    pub fn fingerprint(&self) -> &str {
        &self.model.info().fingerprint
    }

    /// The samples that the loss is measured on.
    pub fn samples(&self) -> &[Sample] {
        &self.held.samples
    }

    /// Share of block passes that restarting saved so far.
    pub fn share_saved(&self) -> f64 {
        self.blocks_saved as f64 / (self.blocks_run + self.blocks_saved).max(1) as f64
    }

    /// Answer lengths in tokens, one list for each part; a part is the set of samples that one pass computes together.
    pub fn parts(&self) -> Vec<Vec<usize>> {
        let tokens = |batch: &Range<usize>| self.held.samples[batch.clone()].iter().map(|sample| sample.answer.len());
        self.held.batches.iter().map(|batch| tokens(batch).collect()).collect()
    }

    /// Negative log-likelihood of each answer of one part, summed over its tokens, in nats. The first token of each
    /// answer is scored by the prompt's pass, the others by the answer's.
    pub fn nats(&mut self, part: usize, prefill: &Roles, decode: &Roles) -> Result<Vec<f64>, ModelError> {
        let changed =
            |passed: &Passed, roles: &Roles| passed.roles.as_ref().map_or(0, |last| last.first_difference(roles));
        let prompts_changed = changed(&self.prefill[part], prefill);
        let answers_changed = changed(&self.decode[part], decode).min(prompts_changed);
        self.pass(Phase::Prefill, part, prefill, prompts_changed, Repairs::default())?;
        self.pass(Phase::Decode, part, decode, answers_changed, Repairs::default())?;
        Ok(self.losses_of(part).collect())
    }

    /// Mean negative log-likelihood of the answers' tokens, in nats per token.
    pub fn loss(&mut self, prefill: &Roles, decode: &Roles) -> Result<f64, ModelError> {
        for part in 0..self.held.batches.len() {
            self.nats(part, prefill, decode)?;
        }
        Ok(self.mean_loss(|_| true).unwrap_or(f64::NAN))
    }

    /// Mean negative log-likelihood of the answers' tokens with repairs in the place of removed blocks. Its passes are
    /// not cached.
    pub fn loss_with(&mut self, prefill: &Roles, decode: &Roles, repairs: Repairs<'_>) -> Result<Loss, ModelError> {
        for part in 0..self.held.batches.len() {
            self.pass(Phase::Prefill, part, prefill, 0, repairs)?;
            self.pass(Phase::Decode, part, decode, 0, repairs)?;
        }
        let all = self.mean_loss(|_| true).unwrap_or(f64::NAN);
        let held_out = self.mean_loss(|sample| self.held.is_held_out(sample)).unwrap_or(all);
        self.forget();
        Ok(Loss { all, held_out })
    }

    /// Discards the cached passes, because the last passes ran something other than what [`Calibrator::loss`] runs.
    pub(super) fn forget(&mut self) {
        (self.prefill, self.decode) = (self.unpassed(Phase::Prefill), self.unpassed(Phase::Decode));
    }

    /// Summed loss of each sample of a part, as of the last passes.
    fn losses_of(&self, part: usize) -> impl Iterator<Item = f64> + '_ {
        self.prefill[part].losses.iter().zip(&self.decode[part].losses).map(|(first, others)| first + others)
    }

    /// Mean loss per token over the samples that `is_chosen` selects; `None` if it selects none.
    fn mean_loss(&self, is_chosen: impl Fn(usize) -> bool) -> Option<f64> {
        let losses = (0..self.held.batches.len()).flat_map(|part| self.losses_of(part));
        let (mut sum, mut tokens) = (0.0, 0);
        for ((_, sample), loss) in
            self.held.samples.iter().enumerate().zip(losses).filter(|((at, _), _)| is_chosen(*at))
        {
            sum += loss;
            tokens += sample.answer.len();
        }
        (tokens > 0).then(|| sum / tokens as f64)
    }

    /// Runs one part from block `first` on, or from block 0 where the stream before `first` is not cached.
    fn pass(&mut self, phase: Phase, part: usize, roles: &Roles, first: usize, repairs: Repairs<'_>) -> Result<()> {
        let layers = roles.len();
        if first >= layers {
            self.blocks_saved += layers as u64;
            return Ok(());
        }
        let passed = self.passed(phase, part);
        passed.roles = None;
        let mut boundaries = passed.boundaries.take();
        let from = if boundaries.as_ref().is_some_and(|held| held.has(first)) { first } else { 0 };
        self.blocks_saved += from as u64;
        self.blocks_run += (layers - from) as u64;
        let trial = Trial { roles, from, boundaries: boundaries.as_mut(), repairs: repairs.of(phase) };
        let losses = self.batch(phase, self.held.batches[part].clone(), trial)?;
        *self.passed(phase, part) = Passed { roles: Some(roles.clone()), boundaries, losses };
        Ok(())
    }

    fn passed(&mut self, phase: Phase, part: usize) -> &mut Passed {
        match phase {
            Phase::Prefill => &mut self.prefill[part],
            Phase::Decode => &mut self.decode[part],
        }
    }

    /// The empty cache of one phase, before any pass. Memory for boundaries goes to the batches that fit, in order; the
    /// prefill phase has 7/8 of `cache_bytes`.
    fn unpassed(&self, phase: Phase) -> Vec<Passed> {
        let layers = self.layers();
        let row = layers * self.model.info().hidden * size_of::<f32>();
        let mut left = match phase {
            Phase::Prefill => self.cache_bytes / 8 * 7,
            Phase::Decode => self.cache_bytes / 8,
        };
        let rows = |batch: &Range<usize>| -> usize {
            let answers = phase == Phase::Decode;
            self.held.samples[batch.clone()].iter().map(|sample| sample.range(answers).len()).sum()
        };
        let unpassed = |batch: &Range<usize>| {
            let bytes = rows(batch) * row;
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            Passed { roles: None, boundaries: fits.then(|| Boundaries::new(layers)), losses: vec![0.0; batch.len()] }
        };
        self.held.batches.iter().map(unpassed).collect()
    }

    /// Runs one batch and returns the summed loss of each of its samples.
    fn batch(&mut self, phase: Phase, batch: Range<usize>, mut trial: Trial<'_>) -> Result<Vec<f64>> {
        let answers = phase == Phase::Decode;
        if self.held.samples[batch.clone()].iter().all(|sample| sample.range(answers).is_empty()) {
            return Ok(vec![0.0; batch.len()]);
        }
        let pool = self.held.pool.clone();
        let mut feeds = self.held.feeds(batch.clone(), answers);
        self.model.language().forward(&pool, &mut feeds, &mut self.space, &mut trial)?;
        let vocab = self.model.info().vocab;
        let mut rows = self.space.logits().chunks_exact(vocab);
        let of_sample = |sample: &Sample| {
            let targets = if answers { &sample.answer[1..] } else { &sample.answer[..1] };
            targets.iter().zip(rows.by_ref()).map(|(&target, logits)| negative_log_likelihood(logits, target)).sum()
        };
        Ok(self.held.samples[batch].iter().map(of_sample).collect())
    }
}

fn negative_log_likelihood(logits: &[f32], target: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    sum.ln() + f64::from(most - logits[target as usize])
}
