//! How fast each node is, measured from the requests that it served. Plain data.

use std::collections::HashMap;

use secateur_proto::v1::FirstToken;

/// What one request weighs in a mean.
const WEIGHT: f64 = 0.2;
/// A prompt that is almost all in the prefix cache says nothing of a position's time.
const POSITIONS_MIN: u32 = 8;

/// One node's means; none: nothing measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Prefill: seconds of computation for each position that was not in the prefix cache.
    pub prefill_s_per_position: Option<f64>,
    /// Seconds for which a request held the node, from placed to ended.
    pub request_s: Option<f64>,
}

/// Every node's, by its address.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    by_node: HashMap<String, Pace>,
}

impl Paces {
    /// Of this node.
    pub fn of(&self, address: &str) -> Pace {
        self.by_node.get(address).copied().unwrap_or_default()
    }

    /// A prompt's first token came.
    pub fn prefilled(&mut self, address: &str, first: &FirstToken) {
        let computed = first.prompt_positions.saturating_sub(first.cached_positions);
        if computed >= POSITIONS_MIN {
            let seconds = first.prefill_ms / 1_000.0 / f64::from(computed);
            mean(&mut self.entry(address).prefill_s_per_position, seconds);
        }
    }

    /// A request that came to its end held the node for so many seconds.
    pub fn served(&mut self, address: &str, seconds: f64) {
        mean(&mut self.entry(address).request_s, seconds);
    }

    /// Forgets nodes that are not known.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.by_node.retain(|address, _| is_known(address));
    }

    fn entry(&mut self, address: &str) -> &mut Pace {
        self.by_node.entry(address.to_owned()).or_default()
    }
}

/// Exponentially weighted; what is not a time is left out.
fn mean(so_far: &mut Option<f64>, latest: f64) {
    if latest.is_finite() && latest >= 0.0 {
        *so_far = Some(so_far.map_or(latest, |mean| mean + WEIGHT * (latest - mean)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_positions_took_no_time() {
        let mut paces = Paces::default();
        let first = |prompt_positions, cached_positions, prefill_ms| FirstToken {
            prompt_positions,
            cached_positions,
            prefill_ms,
            ..Default::default()
        };
        paces.prefilled("p", &first(100, 93, 5.0));
        paces.prefilled("p", &first(100, 0, f64::NAN));
        assert_eq!(paces.of("p").prefill_s_per_position, None, "too few, or no time");
        paces.prefilled("p", &first(200, 100, 100.0));
        assert_eq!(paces.of("p").prefill_s_per_position, Some(0.001));
        paces.prefilled("p", &first(100, 0, 200.0));
        assert!((paces.of("p").prefill_s_per_position.unwrap() - 0.0012).abs() < 1e-12);
        assert_eq!(paces.of("q"), Pace::default());
    }

    #[test]
    fn a_nodes_requests_have_a_mean() {
        let mut paces = Paces::default();
        paces.served("d", 1.0);
        paces.served("d", 2.0);
        assert!((paces.of("d").request_s.unwrap() - 1.2).abs() < 1e-12);
    }
}
