//! The share of attention that falls on a prompt's first and last tokens (PDTrim's choice of layers for KV dropping).

use std::ops::Range;

use secateur_pruning::pdtrim::concentration::QUERIES;

use crate::calibrate::loss::Calibrator;
use crate::calibrate::phase::{Phase, Roles};
use crate::calibrate::watch::Seen;
use crate::error::ModelError;

/// Maps the length of a prompt, in tokens, to how many first and how many last tokens a layer would keep; `None` if it
/// keeps all of them.
pub type Keeps<'a> = dyn Fn(usize) -> Option<(usize, usize)> + 'a;

impl Calibrator<'_> {
    /// \[R\] `c_l`: attention mass of the last 32 queries of a prompt on the first F and last W tokens, averaged over
    /// heads and samples. Prompts that would be kept whole carry no information and are left out; `None` if every
    /// prompt would be.
    pub fn concentration(&mut self, keeps: &Keeps<'_>) -> Result<Option<Vec<f64>>, ModelError> {
        let layers = self.layers();
        let all = Roles::all(layers);
        let info = self.model.info();
        let heads = Heads { heads: info.heads, kv_heads: info.kv_heads, head_dim: info.head_dim };
        let (mut sums, mut samples) = (vec![0.0; layers], 0);
        for batch in self.held.batches.clone() {
            self.watch(Phase::Prefill, batch, &all, &[], &mut |rows, seen| {
                let Seen::Attention(layer, qkv) = seen else { return };
                for range in rows {
                    if let Some((first, last)) = keeps(range.len()) {
                        samples += usize::from(layer == 0);
                        sums[layer] += heads.mass(&qkv[range.start * heads.columns()..], range.len(), first, last);
                    }
                }
            })?;
        }
        Ok((samples > 0).then(|| sums.into_iter().map(|sum| sum / samples as f64).collect()))
    }
}

struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Heads {
    fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Mean attention on `0..first` and `rows - last..`, over the heads and the last queries of one prompt.
    fn mass(&self, qkv: &[f32], rows: usize, first: usize, last: usize) -> f64 {
        let queries = rows.saturating_sub(QUERIES)..rows;
        let count = queries.len() * self.heads;
        let mut weights = Vec::with_capacity(rows);
        let mut sum = 0.0;
        for query in queries {
            for head in 0..self.heads {
                self.weigh(qkv, query, head, &mut weights);
                let kept = |key: &usize| *key < first || *key >= rows - last;
                sum += (0..=query).filter(kept).map(|key| weights[key]).sum::<f64>();
            }
        }
        sum / count.max(1) as f64
    }

    /// Computes the softmax of one query over all keys up to its own position.
    fn weigh(&self, qkv: &[f32], query: usize, head: usize, weights: &mut Vec<f64>) {
        let columns = self.columns();
        let at = |row: usize, column: usize| -> Range<usize> {
            let start = row * columns + column * self.head_dim;
            start..start + self.head_dim
        };
        let key_head = self.heads + head / (self.heads / self.kv_heads);
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let asked = &qkv[at(query, head)];
        let score = |key: usize| {
            let key = &qkv[at(key, key_head)];
            asked.iter().zip(key).map(|(q, k)| f64::from(q * k)).sum::<f64>() * scale
        };
        weights.clear();
        weights.extend((0..=query).map(score));
        let most = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        weights.iter_mut().for_each(|weight| *weight = (*weight - most).exp());
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_attention_rests_where_the_tokens_are() {
        let heads = Heads { heads: 2, kv_heads: 1, head_dim: 2 };
        // All queries are zero: every key weighs the same.
        let qkv = vec![0.0; 40 * heads.columns()];
        let mass = heads.mass(&qkv, 40, 4, 8);
        // Query i sees i + 1 keys: four first ones and those of the last eight that are not behind it.
        let expected: f64 = (8..40).map(|i| (4.0 + (i as f64 - 31.0).max(0.0)) / (i as f64 + 1.0)).sum::<f64>() / 32.0;
        assert!((mass - expected).abs() < 1e-12, "{mass} {expected}");
    }

    #[test]
    fn a_query_finds_its_key() {
        let heads = Heads { heads: 1, kv_heads: 1, head_dim: 1 };
        // Columns are query, key and value. Every query matches the key of row 1.
        let mut qkv = vec![0.0; 3 * 40];
        (0..40).for_each(|row| qkv[row * 3] = 10.0);
        qkv[3 + 1] = 10.0;
        assert!(heads.mass(&qkv, 40, 2, 1) > 0.999);
        assert!(heads.mass(&qkv, 40, 1, 1) < 0.001);
    }
}
