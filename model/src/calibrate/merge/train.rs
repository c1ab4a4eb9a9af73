//! The gradient steps.

use candle_core::{Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::calibrate::merge::capture::Lessons;
use crate::calibrate::merge::rows::Rows;
use crate::calibrate::merge::student::{Student, join};
use crate::error::{ModelError, Result};

/// How merged blocks are trained.
///
/// \[R\] AdamW without weight decay; a tenth of the steps is warm-up, then the rate follows a cosine to zero. The
/// result is the best state seen, by the error on held-out samples; training ends early once that error stops falling.
#[derive(Clone, Debug, PartialEq)]
pub struct Distillation {
    /// Gradient steps of each merged block, at most.
    pub steps: usize,
    /// Rows per step, at least; samples are taken whole.
    pub rows: usize,
    /// Largest learning rate; `None` stands for 0.064 divided by the residual width, at most 0.0005, because Adam's
    /// steps in a wide matrix add up over its inputs.
    pub rate: Option<f64>,
    /// Seed for drawing the samples of each step; the same seed gives the same weights.
    pub seed: u64,
}

impl Default for Distillation {
    fn default() -> Self {
        Distillation { steps: 300, rows: 512, rate: None, seed: 0 }
    }
}

const RATE_BY_WIDTH: f64 = 0.064;
const RATE_MOST: f64 = 5e-4;
/// Number of evaluations during training, apart from the first.
const JUDGED: usize = 15;
/// Consecutive evaluations without improvement before training ends. Answers have few rows, which soon overfit.
const PATIENCE: usize = 4;
/// Rows evaluated at a time, which bounds the memory.
const JUDGED_ROWS: usize = 2_048;

impl Distillation {
    pub(in crate::calibrate) fn check(&self) -> Result<()> {
        let is_rate = self.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
        if is_rate && self.rows > 0 {
            Ok(())
        } else {
            Err(ModelError::config("distillation", "rate and rows must be above 0"))
        }
    }

    /// Learning rate of one step, for a block of residual width `width`.
    fn rate(&self, step: usize, width: usize) -> f64 {
        let most = self.rate.unwrap_or_else(|| (RATE_BY_WIDTH / width as f64).min(RATE_MOST));
        let warm = self.steps.div_ceil(10);
        if step < warm {
            return most * (step + 1) as f64 / warm as f64;
        }
        let done = (step - warm) as f64 / (self.steps - warm).max(1) as f64;
        most * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

/// Trains the student and leaves it in the best state seen. Returns the remaining share of the initial error, measured
/// on held-out samples, or on the fitted ones if none are held out.
pub(super) fn distil(student: &Student, lessons: &Lessons, how: &Distillation) -> Result<f64> {
    let judge = if lessons.held_out.is_empty() { &lessons.fitted } else { &lessons.held_out };
    let first = mean_square(student, judge)?;
    let unit = mean_square(student, &lessons.fitted)?;
    if first == 0.0 || unit == 0.0 {
        return Ok(0.0);
    }
    let variables = student.variables();
    let mut optimizer = AdamW::new(variables.clone(), ParamsAdamW { weight_decay: 0.0, ..ParamsAdamW::default() })?;
    let mut draw = Draw::new(how.seed, lessons.fitted.len());
    let mut best = (first, kept(&variables)?);
    let mut in_vain = 0;
    for step in 0..how.steps {
        let chosen = draw.next(&lessons.fitted, how.rows);
        let (loss, rows) = (square(student, &chosen)?, chosen.iter().map(|rows| rows.len()).sum::<usize>());
        optimizer.set_learning_rate(how.rate(step, chosen[0].x.dims()[1]));
        optimizer.step(&(loss * (1.0 / (unit * rows as f64)))?.backward()?)?;
        if (step + 1) % how.steps.div_ceil(JUDGED) == 0 || step + 1 == how.steps {
            let error = mean_square(student, judge)?;
            tracing::debug!(step, error = error / first, "merging");
            in_vain += 1;
            if error < best.0 {
                best = (error, kept(&variables)?);
                in_vain = 0;
            }
            if in_vain == PATIENCE {
                break;
            }
        }
    }
    for (variable, value) in variables.iter().zip(&best.1) {
        variable.set(value)?;
    }
    Ok(best.0 / first)
}

/// Sum of the squared distances between the student's rows and their targets.
fn square(student: &Student, samples: &[&Rows]) -> Result<Tensor> {
    let missing = (student.forward(samples)? - join(samples, |rows| &rows.target)?)?;
    Ok(missing.sqr()?.sum_all()?)
}

/// Mean over rows of the squared distance from the target.
fn mean_square(student: &Student, samples: &[Rows]) -> Result<f64> {
    let (mut sum, mut rows) = (0.0, 0);
    let mut chunk: Vec<&Rows> = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        chunk.push(sample);
        rows += sample.len();
        if chunk.iter().map(|rows| rows.len()).sum::<usize>() >= JUDGED_ROWS || at + 1 == samples.len() {
            sum += f64::from(square(student, &chunk)?.to_scalar::<f32>()?);
            chunk.clear();
        }
    }
    Ok(sum / rows.max(1) as f64)
}

fn kept(variables: &[Var]) -> Result<Vec<Tensor>> {
    variables.iter().map(|variable| Ok(variable.as_tensor().copy()?.detach())).collect()
}

/// Draws samples without replacement, in a random order, and reshuffles when all have been drawn.
struct Draw {
    random: ChaCha8Rng,
    order: Vec<usize>,
    next: usize,
}

impl Draw {
    fn new(seed: u64, samples: usize) -> Draw {
        Draw { random: ChaCha8Rng::seed_from_u64(seed), order: (0..samples).collect(), next: samples }
    }

    /// Draws samples until they have `rows` rows together, or all samples are drawn.
    fn next<'a>(&mut self, samples: &'a [Rows], rows: usize) -> Vec<&'a Rows> {
        let (mut chosen, mut sum) = (Vec::new(), 0);
        while sum < rows && chosen.len() < samples.len() {
            if self.next == self.order.len() {
                self.shuffle();
            }
            let sample = &samples[self.order[self.next]];
            self.next += 1;
            sum += sample.len();
            chosen.push(sample);
        }
        chosen
    }

    fn shuffle(&mut self) {
        self.next = 0;
        for at in (1..self.order.len()).rev() {
            let other = self.random.next_u64() % (at as u64 + 1);
            self.order.swap(at, other as usize);
        }
    }
}
