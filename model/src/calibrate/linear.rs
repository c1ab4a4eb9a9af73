//! Fit of the linear map that stands in for a removed block.
//!
//! \[R\] Ridge least squares on calibration rows: `h' + D h'` approximates the residual stream after the block in the
//! unpruned model, where `h'` is the residual stream before the block in the pruned model.

use nalgebra::DMatrix;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::phase::Phase;
use crate::calibrate::repairs::LinearRepair;
use crate::calibrate::solve::Normal;
use crate::calibrate::streams::Trimmed;
use crate::error::{ModelError, Result};

/// Ridge strengths to try; the error on held-out samples selects one.
const RIDGES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

impl Calibrator<'_> {
    /// Fits the map for one removed block.
    pub(super) fn linear_repair(&mut self, layer: usize, trimmed: Trimmed<'_>) -> Result<LinearRepair> {
        let (mut fitted, mut held_out) = (self.normal(), self.normal());
        let hidden = self.model.info().hidden;
        for batch in self.held.batches.clone() {
            let whole = self.whole_stream(trimmed.phase, batch.clone(), layer)?;
            let x = self.stream_before(layer, batch.clone(), trimmed)?;
            let missing: Vec<f32> = whole.iter().zip(&x).map(|(whole, trimmed)| whole - trimmed).collect();
            let mut start = 0;
            for sample in batch {
                let end = start + self.held.samples[sample].range(trimmed.phase == Phase::Decode).len() * hidden;
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
