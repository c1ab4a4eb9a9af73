//! The linear map that stands in for a removed block.
//!
//! \[R\] Ridge least squares on calibration rows: `h' + D h'` approximates the residual stream after the block in the
//! unpruned model, where `h'` is the residual stream before the block in the pruned model.

use nalgebra::DMatrix;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::repairs::Here;
use crate::calibrate::solve::Normal;
use crate::calibrate::trial::Phase;
use crate::error::{ModelError, Result};

/// Ridge strengths to try; the error on held-out samples selects one.
const RIDGES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// The map `x + D x`, applied in the place of a removed block.
#[derive(Clone, Debug)]
pub struct LinearRepair {
    layer: usize,
    width: usize,
    /// `D`, [width outputs, width inputs], row-major.
    delta: Vec<f32>,
    /// The value that [`LinearRepair::error`] returns.
    error: f64,
}

impl LinearRepair {
    /// Index of the removed block.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Number of inputs of `D`, and of its outputs: the residual width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `D`, [outputs, inputs], row-major.
    pub fn delta(&self) -> &[f32] {
        &self.delta
    }

    /// Remaining share of the squared distance between the stream before the removed block and the target stream after
    /// it, on rows that the fit did not see: 0 is perfect, 1 is no better than no repair.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Replaces each row of `x` by `x + D x`.
    pub(super) fn apply(&self, x: &mut [f32]) {
        let mut before = vec![0.0; self.width];
        for row in x.chunks_exact_mut(self.width) {
            before.copy_from_slice(row);
            for (out, weights) in row.iter_mut().zip(self.delta.chunks_exact(self.width)) {
                *out += weights.iter().zip(&before).map(|(weight, value)| weight * value).sum::<f32>();
            }
        }
    }
}

impl Calibrator<'_> {
    /// Fits the map for one removed block.
    pub(super) fn linear_repair(&mut self, layer: usize, here: Here<'_>) -> Result<LinearRepair> {
        let (mut fitted, mut held_out) = (self.normal(), self.normal());
        let hidden = self.model.info().hidden;
        for batch in self.held.batches.clone() {
            let whole = self.whole_stream(here.phase, batch.clone(), layer)?;
            let x = self.stream_before(layer, batch.clone(), here)?;
            let missing: Vec<f32> = whole.iter().zip(&x).map(|(whole, here)| whole - here).collect();
            let mut start = 0;
            for sample in batch {
                let end = start + self.held.samples[sample].range(here.phase == Phase::Decode).len() * hidden;
                let into = if self.held.is_held_out(sample) { &mut held_out } else { &mut fitted };
                if end > start {
                    into.add(&x[start..end], &missing[start..end]);
                }
                start = end;
            }
        }
        self.fit(layer, &fitted, &held_out)
    }

    fn normal(&self) -> Normal {
        Normal::new(self.model.info().hidden)
    }

    fn fit(&self, layer: usize, fitted: &Normal, held_out: &Normal) -> Result<LinearRepair> {
        let judge = if held_out.rows() > 0 { held_out } else { fitted };
        let tried = RIDGES.iter().filter_map(|&ridge| fitted.fit(ridge)).map(|fit| (judge.relative_error(&fit), fit));
        let best = tried.min_by(|one, other| one.0.total_cmp(&other.0));
        let (error, fit): (f64, DMatrix<f64>) = best.ok_or_else(|| ModelError::config("repair", "no fit exists"))?;
        // `Y = X B` has B as [inputs, outputs]; column-major storage of B is row-major storage of its transpose.
        let delta = fit.iter().map(|&value| value as f32).collect();
        Ok(LinearRepair { layer, width: self.model.info().hidden, delta, error })
    }
}
