//! Attention of the vision towers: every row attends to all rows of its own segment, and to none of another segment.
//!
//! Queries are processed in chunks, so that the memory for scores is bounded however large the picture is.

use std::ops::Range;

use candle_core::Tensor;
use candle_nn::ops::softmax_last_dim;

/// Most scores held at once, over all heads: 64 MiB.
const SCORES_MAX: usize = 16 * 1024 * 1024;
/// Fewer query rows than `ROWS_MIN` would make the matrix products inefficient; more than `ROWS_MAX` bring no speed.
const ROWS_MIN: usize = 16;
const ROWS_MAX: usize = 512;

/// Attention of all segments. q, k, v: [heads, rows, head_dim]; the segments follow each other and cover the rows ->
/// [rows, heads * head_dim].
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[Range<usize>]) -> candle_core::Result<Tensor> {
    let (heads, rows, head_dim) = q.dims3()?;
    // Scaling the queries costs less than scaling the scores.
    let q = (q * (head_dim as f64).powf(-0.5))?;
    let mut mixed = Vec::with_capacity(segments.len());
    for segment in segments {
        let (k, v) = (k.narrow(1, segment.start, segment.len())?, v.narrow(1, segment.start, segment.len())?);
        let keys = k.transpose(1, 2)?; // [heads, head_dim, keys]
        let step = (SCORES_MAX / (heads * segment.len().max(1))).clamp(ROWS_MIN, ROWS_MAX);
        for start in segment.clone().step_by(step) {
            let q = q.narrow(1, start, step.min(segment.end - start))?;
            let weights = softmax_last_dim(&q.matmul(&keys)?)?; // [heads, chunk, keys]
            mixed.push(weights.matmul(&v)?);
        }
    }
    Tensor::cat(&mixed, 1)?.transpose(0, 1)?.reshape((rows, heads * head_dim))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Computes attention for one head and one row at a time, from the definition.
    fn by_definition(q: &Tensor, k: &Tensor, v: &Tensor, segments: &[Range<usize>]) -> Vec<f32> {
        let (heads, _, dim) = q.dims3().unwrap();
        let [q, k, v] = [q.transpose(0, 1).unwrap(), k.clone(), v.clone()].map(|t| t.to_vec3::<f32>().unwrap());
        let mut out = Vec::new();
        for (row, by_head) in q.iter().enumerate() {
            let seen = segments.iter().find(|segment| segment.contains(&row)).unwrap().clone();
            for head in 0..heads {
                let dot = |key: &Vec<f32>| by_head[head].iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
                let weight = |key: &Vec<f32>| (dot(key) / (dim as f32).sqrt()).exp();
                let weights: Vec<f32> = k[head][seen.clone()].iter().map(weight).collect();
                let total: f32 = weights.iter().sum();
                for at in 0..dim {
                    let values = &v[head][seen.clone()];
                    let mixed: f32 = weights.iter().zip(values).map(|(w, value)| w * value[at]).sum();
                    out.push(mixed / total);
                }
            }
        }
        out
    }

    fn check(rows: usize, heads: usize, segments: &[Range<usize>]) {
        let [q, k, v] = [(); 3].map(|()| Tensor::randn(0.0f32, 1.0, (heads, rows, 4), &Device::Cpu).unwrap());
        let found = attend(&q, &k, &v, segments).unwrap();
        assert_eq!(found.dims(), [rows, heads * 4]);
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (found, expected) in found.iter().zip(by_definition(&q, &k, &v, segments)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn segments_do_not_see_each_other() {
        check(9, 3, &[0..4, 4..5, 5..9]);
        check(3, 1, &[0..1, 1..2, 2..3]);
    }

    #[test]
    fn a_segment_longer_than_a_chunk_gives_the_same() {
        check(ROWS_MAX + 10, 2, &[0..ROWS_MAX + 3, ROWS_MAX + 3..ROWS_MAX + 10]);
    }
}
