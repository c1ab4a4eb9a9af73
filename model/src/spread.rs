//! Query strength per key channel, and the spread of values: the statistics that a lossy transfer of KV has to respect.

use crate::error::ModelError;
use crate::kv::{BLOCK_POSITIONS, BlockTable};
use crate::language::{Feed, Input, PassHooks, Segment, Wanted, Workspace};
use crate::model::Model;

/// Number of tokens in the pass.
const TOKENS: usize = 128;
/// First rows that are left out of the statistics: attention sinks differ from all other rows.
const SINKS: usize = 8;

/// Statistics of one block.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpread {
    /// Mean square of the queries of each key head in each pair of channels that rotate together, `[kv_heads, head_dim
    /// / 2]`.
    pub query_squares: Vec<f64>,
    /// Standard deviation of values around their channels' means, all heads together.
    pub value_deviation: f64,
}

impl Model {
    /// Statistics of each block that has KV here, from one pass over tokens drawn from the whole vocabulary. The tokens
    /// are always the same, so a checkpoint gives the same figures every time on the same processor.
    pub fn kv_spread(&self) -> Result<Vec<LayerSpread>, ModelError> {
        let tokens: Vec<u32> = drawn_tokens(self.info().vocab, TOKENS.min(self.info().max_positions)).collect();
        let pool = self.kv_pool_of(tokens.len().div_ceil(BLOCK_POSITIONS))?;
        let mut table = BlockTable::new(&pool);
        table.grow(pool.lease(table.missing(tokens.len())).unwrap_or_default());
        let prompt = self.prompt(&[Segment::Text(&tokens)])?;
        let input = Input::Prompt(&prompt, 0..prompt.len());
        let mut feeds = [Feed { input, table: &mut table, wanted: Wanted::Nothing }];
        let info = self.info();
        let mut watch =
            Watch { heads: info.heads, kv_heads: info.kv_heads, head_dim: info.head_dim, layers: Vec::new() };
        self.language().forward(&pool, &mut feeds, &mut Workspace::default(), &mut watch)?;
        Ok(watch.layers)
    }
}

/// Token ids from a linear congruential generator, below nine tenths of the vocabulary: control tokens lie above.
fn drawn_tokens(vocab: usize, count: usize) -> impl Iterator<Item = u32> {
    let below = (vocab as u64 * 9 / 10).max(1);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as u32
    })
    .take(count)
}

struct Watch {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: Vec<LayerSpread>,
}

impl PassHooks for Watch {
    fn attention(&mut self, _layer: usize, qkv: &[f32]) {
        let columns = (self.heads + 2 * self.kv_heads) * self.head_dim;
        let rows: Vec<&[f32]> = qkv.chunks_exact(columns).skip(SINKS).collect();
        self.layers.push(LayerSpread {
            query_squares: self.query_squares(&rows),
            value_deviation: self.value_deviation(&rows),
        });
    }

    fn looks(&self) -> bool {
        true
    }
}

impl Watch {
    fn query_squares(&self, rows: &[&[f32]]) -> Vec<f64> {
        let (pairs, group) = (self.head_dim.div_ceil(2), self.heads / self.kv_heads);
        let mut squares = vec![0.0; self.kv_heads * pairs];
        for row in rows {
            for (channel, &query) in row[..self.heads * self.head_dim].iter().enumerate() {
                let (head, within) = (channel / self.head_dim / group, channel % self.head_dim);
                squares[head * pairs + within % pairs] += f64::from(query) * f64::from(query);
            }
        }
        // A pair has two channels, and a key head several query heads.
        let each = (rows.len() * group * 2).max(1) as f64;
        squares.iter().map(|sum| sum / each).collect()
    }

    fn value_deviation(&self, rows: &[&[f32]]) -> f64 {
        let first = (self.heads + self.kv_heads) * self.head_dim;
        let count = rows.len().max(1) as f64;
        let channels = self.kv_heads * self.head_dim;
        let variance = |channel: usize| {
            let of = |row: &&[f32]| f64::from(row[first + channel]);
            let mean = rows.iter().map(of).sum::<f64>() / count;
            rows.iter().map(|row| (of(row) - mean).powi(2)).sum::<f64>() / count
        };
        ((0..channels).map(variance).sum::<f64>() / channels as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_groups_are_put_together() {
        // Two query heads share one key head of four channels: q0 q1 k v, with 8 sink rows and two rows that count.
        let mut watch = Watch { heads: 2, kv_heads: 1, head_dim: 4, layers: Vec::new() };
        let row = |q: f32, v: f32| [q, 0.0, q, 0.0, q, 1.0, q, 1.0, 9.0, 9.0, 9.0, 9.0, v, 0.0, 0.0, 0.0];
        let qkv: Vec<f32> =
            std::iter::repeat_n(row(100.0, 50.0), SINKS).chain([row(2.0, 1.0), row(2.0, 3.0)]).flatten().collect();
        watch.attention(0, &qkv);
        assert_eq!(watch.layers, [LayerSpread { query_squares: vec![4.0, 0.5], value_deviation: 0.5 }]);
    }

    #[test]
    fn tokens_are_the_same_every_time_and_inside() {
        let tokens: Vec<u32> = drawn_tokens(1_000, 128).collect();
        assert_eq!(tokens, drawn_tokens(1_000, 128).collect::<Vec<_>>());
        assert!(tokens.iter().all(|&token| token < 900));
        assert_eq!(drawn_tokens(1, 2).collect::<Vec<_>>(), [0, 0]);
    }
}
