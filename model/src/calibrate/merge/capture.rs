//! Captures training rows from passes: the residual stream before a pair in the pruned model, the keys and values that
//! block `w` computes from it (in decode, a prompt's are those that prefill left), and the stream after the pair in the
//! unpruned model.

use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::calibrate::loss::Calibrator;
use crate::calibrate::merge::rows::{Rows, View};
use crate::calibrate::phase::Phase;
use crate::calibrate::streams::Trimmed;
use crate::error::{ModelError, Result};

/// Most rows taken from one sample, evenly spaced: a long prompt must not outweigh all others or fill the memory.
const ROWS: usize = 128;

/// Rows that a merged block is trained on, and held-out rows that it is judged by.
#[derive(Default)]
pub(super) struct Lessons {
    pub fitted: Vec<Rows>,
    pub held_out: Vec<Rows>,
}

/// One sample's rows within a batch.
struct Part<'a> {
    sample: usize,
    /// The sample's rows in this phase.
    range: Range<usize>,
    x: &'a [f32],
    target: &'a [f32],
}

impl Calibrator<'_> {
    /// Rows for merging block `layer` into the one before it, of all samples that have any in this phase.
    pub(super) fn lessons(&mut self, layer: usize, trimmed: Trimmed<'_>) -> Result<Lessons> {
        let hidden = self.model.info().hidden;
        let mut lessons = Lessons::default();
        for batch in self.held.batches.clone() {
            let target = self.whole_stream(trimmed.phase, batch.clone(), layer)?;
            // This pass runs last, because the captured keys and values have to be those that it leaves.
            let x = self.stream_before(layer - 1, batch.clone(), trimmed)?;
            let mut start = 0;
            for sample in batch {
                let range = self.held.samples[sample].range(trimmed.phase == Phase::Decode);
                let end = start + range.len() * hidden;
                if end > start {
                    let part = Part { sample, range, x: &x[start..end], target: &target[start..end] };
                    let rows = self.rows_of(layer - 1, &part)?;
                    let held_out = self.held.is_held_out(sample);
                    let into = if held_out { &mut lessons.held_out } else { &mut lessons.fitted };
                    into.push(rows);
                }
                start = end;
            }
        }
        if lessons.fitted.is_empty() {
            Err(ModelError::config("repair", "no calibration sample has rows to train on"))
        } else {
            Ok(lessons)
        }
    }

    fn rows_of(&self, with: usize, part: &Part<'_>) -> Result<Rows> {
        let info = self.model.info();
        let (count, hidden) = (part.range.len(), info.hidden);
        let taken = count.min(ROWS);
        // The last row is always chosen, because the first answer token is computed from it.
        let chosen: Vec<usize> = (1..=taken).map(|row| row * count / taken - 1).collect();
        let slots: Vec<usize> = chosen.iter().map(|row| part.range.start + row).collect();
        let gather = |stream: &[f32]| -> Vec<f32> {
            chosen.iter().flat_map(|row| &stream[row * hidden..(row + 1) * hidden]).copied().collect()
        };
        let tensor = |stream: Vec<f32>| Tensor::from_vec(stream, (taken, hidden), &Device::Cpu);
        let x = gather(part.x);
        let (cos, sin) = self.turns(part.sample, &slots)?;
        let (keys, values) = self.seen(with, part)?;
        let block = self.model.language().block(with).ok_or(ModelError::OutOfRange {
            what: "block",
            index: with,
            len: info.layers,
        })?;
        let view = View { slots: &slots, seen: part.range.end, window: block.window };
        Ok(Rows {
            normed: tensor(normed(&x, &block.before_attention, self.model.language().norm_epsilon()))?,
            x: tensor(x)?,
            cos,
            sin,
            keys,
            values,
            mask: view.mask()?,
            target: tensor(gather(part.target))?,
        })
    }

    /// Rotary cosines and sines of the rows at `slots`, each [rows, 1, head_dim / 2].
    fn turns(&self, sample: usize, slots: &[usize]) -> Result<(Tensor, Tensor)> {
        let rows = &self.held.samples[sample].rows;
        let lines: Vec<_> = slots.iter().map(|&slot| self.model.language().rotation(rows.position(slot))).collect();
        let (cos, sin): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let table = |lines: Vec<Vec<f32>>| {
            let shape = (lines.len(), 1, lines[0].len());
            Tensor::from_vec(lines.concat(), shape, &Device::Cpu)
        };
        Ok((table(cos)?, table(sin)?))
    }

    /// Keys that the rows see, [kv_heads, head_dim, slots], and values, [kv_heads, slots, head_dim].
    fn seen(&self, with: usize, part: &Part<'_>) -> Result<(Tensor, Tensor)> {
        let (info, slots) = (self.model.info(), part.range.end);
        let at = self.model.kv_layers().binary_search(&with);
        let at = at.map_err(|_| ModelError::cache(format!("block {with} has no KV")))?;
        let (keys, values) = self.held.keys_and_values(part.sample, at, slots);
        let tensor = |data| Tensor::from_vec(data, (slots, info.kv_heads, info.head_dim), &Device::Cpu);
        Ok((tensor(keys)?.permute((1, 2, 0))?.contiguous()?, tensor(values)?.permute((1, 0, 2))?.contiguous()?))
    }
}

fn normed(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let square = row.iter().map(|value| value * value).sum::<f32>() / row.len() as f32;
        let scale = 1.0 / (square + epsilon).sqrt();
        out.extend(row.iter().zip(weight).map(|(value, weight)| value * scale * weight));
    }
    out
}
