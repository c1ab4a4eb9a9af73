//! The loss of an answer when prompt and answer run given blocks.

use std::ops::Range;

use crate::calibrate::repairs::Repairs;
use crate::calibrate::samples::{Held, Sample};
use crate::calibrate::trial::{Boundaries, Phase, Roles, Trial};
use crate::error::{ModelError, Result};
use crate::language::Workspace;
use crate::model::Model;

/// Measures what leaving blocks out costs, on a model that is loaded whole.
///
/// It remembers the last pass: KV of every sample, and, as far as `cache_bytes` allow, the residual stream in front of
/// every block. The next pass restarts at the first block whose role changed.
pub struct Calibrator<'a> {
    pub(super) model: &'a Model,
    pub(super) held: Held,
    pub(super) space: Workspace,
    prefill: Passed,
    decode: Passed,
    cache_bytes: usize,
    blocks_run: u64,
    blocks_saved: u64,
}

/// What is left of the last pass of one phase.
#[derive(Default)]
struct Passed {
    /// `None`: there was none, or what it left is not to be used.
    roles: Option<Roles>,
    boundaries: Vec<Option<Boundaries>>,
    /// Sum of the losses of each sample.
    losses: Vec<f64>,
}

/// Mean negative log-likelihood of the answers' tokens, in nats per token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Over all samples.
    pub all: f64,
    /// Over those that fits of repairs do not see; over all where there are too few to hold any out.
    pub held_out: f64,
}

impl<'a> Calibrator<'a> {
    /// A calibrator over `samples`, which keeps residual streams in at most `cache_bytes`.
    pub fn new(model: &'a Model, samples: Vec<Sample>, cache_bytes: usize) -> Result<Calibrator<'a>, ModelError> {
        if samples.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        let held = Held::new(model, samples)?;
        let (prefill, decode) = (Passed::default(), Passed::default());
        let space = Workspace::default();
        Ok(Calibrator { model, held, space, prefill, decode, cache_bytes, blocks_run: 0, blocks_saved: 0 })
    }

    /// Blocks of the checkpoint.
    pub fn layers(&self) -> usize {
        self.model.info().layers
    }

    /// Identity of the checkpoint.
    pub fn fingerprint(&self) -> &str {
        &self.model.info().fingerprint
    }

    /// Its samples.
    pub fn samples(&self) -> &[Sample] {
        &self.held.samples
    }

    /// Share of block passes that restarting saved so far.
    pub fn share_saved(&self) -> f64 {
        self.blocks_saved as f64 / (self.blocks_run + self.blocks_saved).max(1) as f64
    }

    /// Mean negative log-likelihood of the answers' tokens, in nats per token: the first token of each from the prompt's
    /// pass, the others from the answer's.
    pub fn loss(&mut self, prefill: &Roles, decode: &Roles) -> Result<f64, ModelError> {
        let changed = self.prefill.roles.as_ref().map_or(0, |last| last.first_difference(prefill));
        let answers_changed = self.decode.roles.as_ref().map_or(0, |last| last.first_difference(decode));
        self.phase(Phase::Prefill, prefill, changed, Repairs::default())?;
        self.phase(Phase::Decode, decode, changed.min(answers_changed), Repairs::default())?;
        Ok(self.mean_loss(|_| true).unwrap_or(f64::NAN))
    }

    /// The same with repairs in the place of removed blocks. Nothing of it is remembered.
    pub fn loss_with(&mut self, prefill: &Roles, decode: &Roles, repairs: Repairs<'_>) -> Result<Loss, ModelError> {
        self.phase(Phase::Prefill, prefill, 0, repairs)?;
        self.phase(Phase::Decode, decode, 0, repairs)?;
        let all = self.mean_loss(|_| true).unwrap_or(f64::NAN);
        let held_out = self.mean_loss(|sample| self.held.is_held_out(sample)).unwrap_or(all);
        self.forget();
        Ok(Loss { all, held_out })
    }

    /// What the last passes left is not what [`Calibrator::loss`] would leave.
    pub(super) fn forget(&mut self) {
        (self.prefill, self.decode) = (Passed::default(), Passed::default());
    }

    /// Of the samples chosen; `None`: of none.
    fn mean_loss(&self, is_chosen: impl Fn(usize) -> bool) -> Option<f64> {
        let (mut sum, mut tokens) = (0.0, 0);
        for (at, sample) in self.held.samples.iter().enumerate().filter(|(at, _)| is_chosen(*at)) {
            sum += self.prefill.losses[at] + self.decode.losses[at];
            tokens += sample.answer.len();
        }
        (tokens > 0).then(|| sum / tokens as f64)
    }

    fn phase(&mut self, phase: Phase, roles: &Roles, first: usize, repairs: Repairs<'_>) -> Result<()> {
        if first >= roles.len() {
            self.blocks_saved += roles.len() as u64;
            return Ok(());
        }
        let layers = roles.len();
        let mut passed = std::mem::take(self.passed(phase));
        passed.roles = None;
        passed.losses.resize(self.held.samples.len(), 0.0);
        if passed.boundaries.is_empty() {
            passed.boundaries = self.allotted(phase);
        }
        for (at, batch) in self.held.batches.clone().into_iter().enumerate() {
            let boundaries = passed.boundaries[at].as_mut();
            let from = if boundaries.as_ref().is_some_and(|held| held.has(first)) { first } else { 0 };
            self.blocks_saved += from as u64;
            self.blocks_run += (layers - from) as u64;
            let trial = Trial { roles, from, boundaries, repairs: repairs.of(phase) };
            let losses = self.batch(phase, batch.clone(), trial)?;
            passed.losses[batch].copy_from_slice(&losses);
        }
        passed.roles = Some(roles.clone());
        *self.passed(phase) = passed;
        Ok(())
    }

    fn passed(&mut self, phase: Phase) -> &mut Passed {
        match phase {
            Phase::Prefill => &mut self.prefill,
            Phase::Decode => &mut self.decode,
        }
    }

    /// Memory for the boundaries of those batches that fit; prompts have most of it.
    fn allotted(&self, phase: Phase) -> Vec<Option<Boundaries>> {
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
        let allot = |batch: &Range<usize>| {
            let bytes = rows(batch) * row;
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            fits.then(|| Boundaries::new(layers))
        };
        self.held.batches.iter().map(allot).collect()
    }

    /// Runs one batch; the sum of the losses of each of its samples.
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
