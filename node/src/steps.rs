//! Steps of KV that is shipped with loss, from what a pass of the model showed.
//!
//! A key's error changes a logit by its product with a query over the root of the width: a channel that queries look at twice
//! as strongly gets steps half as large, and a head whose queries are large finer ones than a head whose queries are small. A
//! value's error is judged against how far values of its layer spread. docs/transfer.md has the formulas.

use secateur_model::LayerSpread;
use secateur_transfer::codec::{KvSteps, steps::Notch};

/// A step of values at grain 0, in standard deviations of the layer's values; at grain 4 bits it is a quarter of one.
const VALUE_STEP: f64 = 4.0;
/// Standard deviation of what the error of a key's channel does to a logit, times the root of the channels, at grain 0.
const LOGIT_NOISE: f64 = 2.4;

/// Steps of every layer of `spread`.
pub fn kv_steps(spread: &[LayerSpread], heads: (usize, usize)) -> KvSteps {
    let (_, head_dim) = heads;
    let pairs = head_dim.div_ceil(2);
    // A value that is rounded to steps is off by the root of a twelfth of one.
    let key = |layer: usize, head: usize, pair: usize| {
        let squares = spread[layer].query_squares[head * pairs + pair];
        Notch::nearest(LOGIT_NOISE * 12f64.sqrt() / squares.sqrt())
    };
    let value = |layer: usize, _| Notch::nearest(VALUE_STEP * spread[layer].value_deviation);
    KvSteps::new(spread.len(), heads, key, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_transfer::Grain;

    #[test]
    fn what_queries_look_at_gets_finer_steps() {
        let spread = [LayerSpread { query_squares: vec![1.0, 16.0], value_deviation: 0.5 }];
        let steps = kv_steps(&spread, (1, 4)).layer(0, (1, 4), Grain::of_bits(4.0).unwrap()).unwrap();
        assert_eq!(steps.steps[0][0] / steps.steps[0][1], 4.0);
        assert_eq!(steps.steps[0][0], steps.steps[0][2]);
        assert_eq!(steps.steps[1], [0.125; 4]);
        let exact = 2.4 * 12f32.sqrt() / 16.0;
        assert!((steps.steps[0][0] / exact).log2().abs() <= 0.125);
    }
}
