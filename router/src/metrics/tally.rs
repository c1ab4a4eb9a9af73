//! Sums of counters that nodes keep, which start at 0 again when a node restarts. Plain data.

use std::collections::HashMap;

/// The sum of one counter over all nodes there have been; it never decreases.
#[derive(Debug, Default)]
pub struct Tally {
    /// The last value of each node's counter, by node id.
    last: HashMap<String, u64>,
    sum: u64,
}

impl Tally {
    /// Adds what a node's counter has grown by. A smaller `value` than before means that the counter restarted at 0.
    pub fn observe(&mut self, node_id: &str, value: u64) {
        let last = self.last.insert(node_id.to_owned(), value).unwrap_or(0);
        let step = if value >= last { value - last } else { value };
        self.sum = self.sum.saturating_add(step);
    }

    /// The sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_or_a_new_node_adds_and_never_takes_away() {
        let mut tally = Tally::default();
        for (node, value, sum) in
            [("a", 3, 3), ("b", 2, 5), ("a", 3, 5), ("a", 7, 9), ("a", 1, 10), ("a", 1, 10), ("c", 4, 14), ("b", 0, 14)]
        {
            tally.observe(node, value);
            assert_eq!(tally.sum(), sum, "{node} {value}");
        }
    }

    #[test]
    fn a_node_that_counts_absurdly_does_not_turn_the_sum_back() {
        let mut tally = Tally::default();
        tally.observe("a", u64::MAX);
        tally.observe("b", 2);
        assert_eq!(tally.sum(), u64::MAX);
    }
}
