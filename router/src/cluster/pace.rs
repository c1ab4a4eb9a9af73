//! How fast each node is, measured from the requests that it served. Plain data.

use std::collections::HashMap;

use secateur_proto::v1::FirstToken;

/// Weight of the latest request in a mean.
const WEIGHT: f64 = 0.2;
/// Fewest computed positions for which prefill's time is measured: a prompt almost all in the prefix cache does not
/// show the time per position.
const POSITIONS_MIN: u32 = 8;

/// One node's means; `None` where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Seconds of prefill's computation for each position that was not in the prefix cache.
    pub prefill_s_per_position: Option<f64>,
    /// Seconds for which a request held the node, from its placement to its end.
    pub request_s: Option<f64>,
}

/// The means of all nodes, by address.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    by_node: HashMap<String, Pace>,
}

impl Paces {
    /// The means of the node at `address`.
    pub fn of(&self, address: &str) -> Pace {
        self.by_node.get(address).copied().unwrap_or_default()
    }

    /// Adds prefill's time of a prompt, from its first token.
    pub fn prefilled(&mut self, address: &str, first: &FirstToken) {
        let computed = first.prompt_positions.saturating_sub(first.cached_positions);
        if computed >= POSITIONS_MIN {
            let seconds = first.prefill_ms / 1_000.0 / f64::from(computed);
            mean(&mut self.entry(address).prefill_s_per_position, seconds);
        }
    }

    /// Adds the time for which a finished request held the node.
    pub fn served(&mut self, address: &str, seconds: f64) {
        mean(&mut self.entry(address).request_s, seconds);
    }

    /// Removes nodes for which `is_known` is false.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.by_node.retain(|address, _| is_known(address));
    }

    fn entry(&mut self, address: &str) -> &mut Pace {
        self.by_node.entry(address.to_owned()).or_default()
    }
}

/// Updates an exponentially weighted mean; a value that is negative or not finite is ignored.
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
