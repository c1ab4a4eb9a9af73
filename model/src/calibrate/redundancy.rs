//! How alike a block's input and output are (PDTrim's block redundancy).

use crate::calibrate::loss::Calibrator;
use crate::calibrate::trial::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::ModelError;

impl Calibrator<'_> {
    /// \[P\] `s_l = mean cos(h_l, h_{l+1})` of every block, with nothing left out, over the rows of one phase. \[R\] The mean
    /// is over a sample's rows first, then over samples.
    pub fn redundancy(&mut self, phase: Phase) -> Result<Vec<f64>, ModelError> {
        let (layers, hidden) = (self.layers(), self.model.info().hidden);
        let all = Roles::all(layers);
        self.loss(&all, &all)?;
        let (mut sums, mut samples) = (vec![0.0; layers], 0);
        let mut before: Vec<f32> = Vec::new();
        for batch in self.held.batches.clone() {
            self.watch(phase, batch, &all, &|_, _| {}, &mut |rows, seen| {
                let Seen::Residual(layer, x) = seen else { return };
                match layer.checked_sub(1) {
                    None => samples += rows.len(),
                    Some(block) => {
                        for range in rows {
                            let row = |row: usize| {
                                let place = row * hidden..(row + 1) * hidden;
                                cosine(&before[place.clone()], &x[place])
                            };
                            sums[block] += range.clone().map(row).sum::<f64>() / range.len() as f64;
                        }
                    }
                }
                before.clear();
                before.extend_from_slice(x);
            })?;
        }
        Ok(sums.into_iter().map(|sum| sum / samples.max(1) as f64).collect())
    }
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    let norms = (dot(one, one) * dot(other, other)).sqrt();
    if norms > 0.0 { dot(one, other) / norms } else { 0.0 }
}
