//! The linear map that stands in for a removed block.
//!
//! \[R\] Ridge least squares on calibration rows: `h' + D h'` comes as near as it can to what the whole model has behind the
//! block, where `h'` is what flows in front of it in the model without the removed blocks, with the maps of those before
//! it in place. So each map also makes up for what was lost before it.

use std::ops::Range;

use nalgebra::DMatrix;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::solve::Normal;
use crate::calibrate::trial::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::{ModelError, Result};

/// Strengths that are tried; batches that were held out decide.
const RIDGES: [f64; 6] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];
/// One batch of so many is held out.
const HELD_OUT: usize = 4;

/// `x + D x` in the place of a block.
#[derive(Clone, Debug)]
pub struct LinearRepair {
    layer: usize,
    width: usize,
    /// `D`, [width outputs, width inputs], row-major.
    delta: Vec<f32>,
    /// See [`LinearRepair::error`].
    error: f64,
}

impl LinearRepair {
    /// The block.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// `D`, [outputs, inputs], row-major.
    pub fn delta(&self) -> &[f32] {
        &self.delta
    }

    /// What it leaves of the squared distance between the stream in front of the removed block and what it should be
    /// behind it, on rows that the fit did not see: 0 is perfect, 1 no better than no repair.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// `x + D x` for rows of `x`.
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

/// What prompts run.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// Their blocks.
    pub roles: &'a Roles,
    /// Maps in the place of removed ones.
    pub repairs: &'a [LinearRepair],
}

impl Calibrator<'_> {
    /// Maps for the blocks that `removed` leaves out in one phase, in order. Where answers are repaired, `prompts` is what
    /// their prompts run, with its own repairs: their KV is what answers see.
    pub fn linear_repairs(
        &mut self,
        phase: Phase,
        removed: &[usize],
        prompts: Prompts<'_>,
    ) -> Result<Vec<LinearRepair>, ModelError> {
        let layers = self.layers();
        let mut repairs: Vec<LinearRepair> = Vec::with_capacity(removed.len());
        for &layer in removed {
            let (mut fitted, mut held_out) = (self.normal(), self.normal());
            for (at, batch) in self.held.batches.clone().into_iter().enumerate() {
                let target = self.whole_stream(phase, batch.clone(), layer)?;
                let roles = Roles::without(layers, removed.iter().copied());
                let into = if at % HELD_OUT == HELD_OUT - 1 { &mut held_out } else { &mut fitted };
                let wanted = Wanted { layer, roles: &roles, repairs: &repairs, prompts };
                self.stream_before(phase, batch, wanted, &mut |x| {
                    let missing: Vec<f32> = target.iter().zip(x).map(|(whole, here)| whole - here).collect();
                    into.add(x, &missing);
                })?;
            }
            repairs.push(self.fit(layer, &fitted, &held_out)?);
        }
        Ok(repairs)
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

    /// The stream behind a block in the whole model.
    fn whole_stream(&mut self, phase: Phase, batch: Range<usize>, layer: usize) -> Result<Vec<f32>> {
        let all = Roles::all(self.layers());
        let mut stream = Vec::new();
        let prompts = Prompts { roles: &all, repairs: &[] };
        let wanted = Wanted { layer: layer + 1, roles: &all, repairs: &[], prompts };
        self.stream_before(phase, batch, wanted, &mut |x| stream = x.to_vec())?;
        Ok(stream)
    }

    fn stream_before(
        &mut self,
        phase: Phase,
        batch: Range<usize>,
        wanted: Wanted<'_>,
        take: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let Wanted { layer, roles, repairs, prompts } = wanted;
        if phase == Phase::Decode {
            let apply = |layer: usize, x: &mut [f32]| apply(prompts.repairs, layer, x);
            self.watch(Phase::Prefill, batch.clone(), prompts.roles, &apply, &mut |_, _| {})?;
        }
        self.watch(phase, batch, roles, &|layer, x| apply(repairs, layer, x), &mut |_, seen| {
            if let Seen::Residual(at, x) = seen
                && at == layer
            {
                take(x);
            }
        })
    }
}

/// Which stream: in front of a block, with these roles and repairs.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    layer: usize,
    roles: &'a Roles,
    repairs: &'a [LinearRepair],
    prompts: Prompts<'a>,
}

/// Puts a block's map, if there is one, in its place.
pub(super) fn apply(repairs: &[LinearRepair], layer: usize, x: &mut [f32]) {
    if let Some(repair) = repairs.iter().find(|repair| repair.layer == layer) {
        repair.apply(x);
    }
}
