//! Similarity of a block's input and output (PDTrim's block redundancy).

use secateur_pruning::pdtrim::redundancy::Similarity;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::ModelError;

impl Calibrator<'_> {
    /// `s_l` of every block of the unpruned model, over the rows of one phase; `None` if no sample has rows in that
    /// phase.
    pub fn redundancy(&mut self, phase: Phase) -> Result<Option<Vec<f64>>, ModelError> {
        let (layers, hidden) = (self.layers(), self.model.info().hidden);
        let all = Roles::all(layers);
        // Answers attend to their prompts' KV, which this pass computes.
        self.loss(&all, &all)?;
        let mut similarity = Similarity::new(layers, hidden);
        let mut before: Vec<f32> = Vec::new();
        for sample in 0..self.held.samples.len() {
            let mut fault = None;
            self.watch(phase, sample..sample + 1, &all, &[], &mut |_, seen| {
                let Seen::Residual(layer, x) = seen else { return };
                if let Some(block) = layer.checked_sub(1) {
                    fault = fault.take().or(similarity.add(block, &before, x).err());
                }
                before.clear();
                before.extend_from_slice(x);
            })?;
            if let Some(error) = fault {
                return Err(ModelError::config("hidden_size", error.to_string()));
            }
            similarity.end_sample();
        }
        Ok(similarity.means())
    }
}
