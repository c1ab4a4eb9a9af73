//! Scaled dot-product attention with grouped heads: the one kernel of vision, prefill and decode.
//!
//! Queries are taken in chunks, so that the scores in memory are bounded however long the prompt is, and under a
//! causal mask a chunk looks only at the keys that exist for its last row, which halves the work.

use candle_core::{DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Scores held at once, over all heads: 64 MiB in f32.
const SCORES_MAX: usize = 16 * 1024 * 1024;
/// Fewer query rows than this would make the matrix products inefficient; more than the second need no finer chunks.
const ROWS_MIN: usize = 16;
const ROWS_MAX: usize = 512;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visible {
    /// All of them.
    All,
    /// Row `i` sees keys `0..=first + i`.
    UpTo {
        /// Position of the first query row.
        first: usize,
    },
}

/// Attention of query rows over keys and values.
///
/// q: [rows, heads, head_dim]; k, v: [kv_heads, keys, head_dim]; result: [rows, heads * head_dim].
/// Query head `h` uses key head `h / (heads / kv_heads)`.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, visible: Visible) -> candle_core::Result<Tensor> {
    let (rows, heads, head_dim) = q.dims3()?;
    let (kv_heads, keys, _) = k.dims3()?;
    let group = heads / kv_heads;
    // Scaling the queries costs less than scaling the scores.
    let scaled = (q * (head_dim as f64).powf(-0.5))?;
    // [kv_heads, group, rows, head_dim]: the heads that share a key head lie next to each other.
    let q = scaled.reshape((rows, kv_heads, group, head_dim))?.permute((1, 2, 0, 3))?;
    let step = (SCORES_MAX / (heads * keys)).clamp(ROWS_MIN, ROWS_MAX);
    let mut chunks = Vec::with_capacity(rows.div_ceil(step));
    for start in (0..rows).step_by(step) {
        let len = step.min(rows - start);
        let q = q.narrow(2, start, len)?;
        chunks.push(attend_chunk(&q, k, v, visible.skip(start))?);
    }
    match chunks.as_slice() {
        [only] => Ok(only.clone()),
        several => Tensor::cat(several, 0),
    }
}

/// q: [kv_heads, group, rows, head_dim], scaled -> [rows, heads * head_dim]
fn attend_chunk(q: &Tensor, k: &Tensor, v: &Tensor, visible: Visible) -> candle_core::Result<Tensor> {
    let (kv_heads, group, rows, head_dim) = q.dims4()?;
    let (_, all_keys, _) = k.dims3()?;
    let keys = visible.keys(rows, all_keys);
    let k = k.narrow(1, 0, keys)?; // [kv_heads, keys, head_dim]
    let v = v.narrow(1, 0, keys)?;
    let q = q.reshape((kv_heads, group * rows, head_dim))?;
    let scores = q.matmul(&k.transpose(1, 2)?)?; // [kv_heads, group * rows, keys]
    let scores = match visible {
        Visible::UpTo { first } if rows > 1 => {
            let mask = causal_mask(first, rows, keys, scores.dtype(), scores.device())?;
            let by_head = scores.reshape((kv_heads * group, rows, keys))?;
            by_head.broadcast_add(&mask)?.reshape((kv_heads, group * rows, keys))?
        }
        // A single row sees all the keys that are left.
        _ => scores,
    };
    let mixed = softmax(&scores)?.matmul(&v)?; // [kv_heads, group * rows, head_dim]
    let by_row = mixed.reshape((kv_heads, group, rows, head_dim))?.permute((2, 0, 1, 3))?;
    by_row.reshape((rows, kv_heads * group * head_dim))
}

/// Over the last dimension, in f32 whatever the format, as the reference does.
fn softmax(scores: &Tensor) -> candle_core::Result<Tensor> {
    let format = scores.dtype();
    softmax_last_dim(&scores.to_dtype(DType::F32)?)?.to_dtype(format)
}

/// [rows, keys]: 0 where row `i` may see the key, minus infinity where the key is later than `first + i`.
fn causal_mask(first: usize, rows: usize, keys: usize, format: DType, device: &Device) -> candle_core::Result<Tensor> {
    let mut mask = vec![0.0f32; rows * keys];
    for (row, line) in mask.chunks_exact_mut(keys).enumerate() {
        line[(first + row + 1).min(keys)..].fill(f32::NEG_INFINITY);
    }
    Tensor::from_vec(mask, (rows, keys), device)?.to_dtype(format)
}

impl Visible {
    /// What the rows from `start` on see.
    fn skip(self, start: usize) -> Visible {
        match self {
            Visible::All => Visible::All,
            Visible::UpTo { first } => Visible::UpTo { first: first + start },
        }
    }

    /// How many of the keys any of `rows` rows sees.
    fn keys(self, rows: usize, all: usize) -> usize {
        match self {
            Visible::All => all,
            Visible::UpTo { first } => all.min(first + rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: (usize, usize, usize)) -> Tensor {
        Tensor::randn(0.0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    /// One head and one row at a time, straight from the definition.
    fn by_definition(q: &Tensor, k: &Tensor, v: &Tensor, visible: Visible) -> Vec<f32> {
        let (_, heads, dim) = q.dims3().unwrap();
        let (kv_heads, keys, _) = k.dims3().unwrap();
        let [q, k, v] = [q, k, v].map(|t| t.to_vec3::<f32>().unwrap());
        let mut out = Vec::new();
        for (row, heads_of_row) in q.iter().enumerate() {
            let seen = match visible {
                Visible::All => keys,
                Visible::UpTo { first } => first + row + 1,
            };
            for (head, q) in heads_of_row.iter().enumerate() {
                let from = head / (heads / kv_heads);
                let dot = |key: &Vec<f32>| q.iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
                let weight = |key: &Vec<f32>| (dot(key) / (dim as f32).sqrt()).exp();
                let weights: Vec<f32> = k[from][..seen].iter().map(weight).collect();
                let total: f32 = weights.iter().sum();
                for at in 0..dim {
                    let mixed: f32 = weights.iter().zip(&v[from]).map(|(w, value)| w * value[at]).sum();
                    out.push(mixed / total);
                }
            }
        }
        out
    }

    fn check(rows: usize, heads: usize, kv_heads: usize, keys: usize, visible: Visible) {
        let (q, k, v) = (random((rows, heads, 4)), random((kv_heads, keys, 4)), random((kv_heads, keys, 4)));
        let found = attend(&q, &k, &v, visible).unwrap();
        assert_eq!(found.dims(), [rows, heads * 4]);
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (found, expected) in found.iter().zip(by_definition(&q, &k, &v, visible)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn grouped_heads_and_causal_rows_follow_the_definition() {
        check(5, 4, 2, 5, Visible::UpTo { first: 0 });
        check(2, 6, 2, 9, Visible::UpTo { first: 7 });
        check(1, 3, 1, 4, Visible::UpTo { first: 3 });
        check(3, 2, 2, 7, Visible::All);
    }

    #[test]
    fn a_prompt_longer_than_a_chunk_gives_the_same() {
        check(ROWS_MAX + 3, 2, 1, ROWS_MAX + 3, Visible::UpTo { first: 0 });
        check(ROWS_MAX + 3, 1, 1, 10, Visible::All);
    }

    #[test]
    fn keys_beyond_what_a_row_may_see_do_not_matter() {
        let (q, k, v) = (random((1, 2, 4)), random((1, 6, 4)), random((1, 6, 4)));
        let all = attend(&q, &k, &v, Visible::UpTo { first: 3 }).unwrap();
        let cut = attend(&q, &k.narrow(1, 0, 4).unwrap(), &v.narrow(1, 0, 4).unwrap(), Visible::All).unwrap();
        assert_eq!(all.to_vec2::<f32>().unwrap(), cut.to_vec2::<f32>().unwrap());
    }
}
