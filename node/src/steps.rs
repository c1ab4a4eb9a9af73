//! Quantization steps of KV that is shipped with loss, derived from statistics of a pass of the model.
//!
//! An error in a key changes an attention logit by its product with the query, over the root of the head width. So a
//! channel in which queries are twice as large gets steps half as large, and a head with large queries gets finer steps
//! than a head with small ones. The error of a value is judged against the standard deviation of its layer's values.
//! docs/transfer.md has the formulas.

use secateur_model::LayerSpread;
use secateur_transfer::codec::{KvSteps, steps::Notch};

/// Step of values at grain 0, in standard deviations of the layer's values; at a grain of 4 bits it is a quarter of one
/// standard deviation.
const VALUE_STEP: f64 = 4.0;
/// Standard deviation of a logit's change by the error of one channel of a key, times the root of the number of
/// channels, at grain 0.
const LOGIT_NOISE: f64 = 2.4;

/// Steps of every layer of `spread`, for `heads` = (KV heads, channels of a head).
pub fn kv_steps(spread: &[LayerSpread], heads: (usize, usize)) -> KvSteps {
    let (_, head_dim) = heads;
    let pairs = head_dim.div_ceil(2);
    // Rounding to a step has an error with a standard deviation of the step times the root of 1/12.
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
