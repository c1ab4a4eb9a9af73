//! Length and cooling of the annealing. The paper publishes none of these numbers; all are \[R\].

/// Annealing schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Number of random swaps from the start, whose median `|dE|` is the first temperature.
    pub probes: usize,
    /// Factor on the temperature from one step to the next.
    pub cooling: f64,
    /// Number of proposed swaps.
    pub steps: usize,
    /// Seeds of the annealing runs; the best run wins.
    pub seeds: Vec<u64>,
}

impl Schedule {
    /// The default schedule: 16 probes, cooling 0.95, 200 steps, five seeds from `seed` on.
    pub fn seeded(seed: u64) -> Self {
        Self { probes: 16, cooling: 0.95, steps: 200, seeds: (0..5).map(|run| seed.wrapping_add(run)).collect() }
    }

    /// `T_k = T_0 cooling^k`, the temperature of step `k` from 0.
    pub fn temperature(&self, start: f64, step: usize) -> f64 {
        start * self.cooling.powf(step as f64)
    }
}

/// Median of the finite `|dE|`: a change that cannot be measured says nothing about scale. If none is finite the result
/// is 0, which accepts no worsening.
pub(super) fn start_temperature(changes: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = changes.iter().map(|change| change.abs()).filter(|size| size.is_finite()).collect();
    sizes.sort_by(f64::total_cmp);
    match sizes.len() {
        0 => 0.0,
        len if len % 2 == 1 => sizes[len / 2],
        len => f64::midpoint(sizes[len / 2 - 1], sizes[len / 2]),
    }
}

/// Metropolis criterion: how much worse a swap may be and still be accepted, for a `draw` in [0, 1). An improvement or
/// an equal energy is never refused; a worsening of `dE` is accepted with probability `exp(-dE / T)`.
pub(super) fn margin(temperature: f64, draw: f64) -> f64 {
    if temperature > 0.0 { -temperature * draw.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temperature_falls_by_a_twentieth_each_step() {
        let schedule = Schedule::seeded(7);
        assert_eq!(schedule.seeds, [7, 8, 9, 10, 11]);
        let mut expected = 2.0;
        for step in 0..schedule.steps {
            assert!((schedule.temperature(2.0, step) / expected - 1.0).abs() < 1e-9);
            expected *= 0.95;
        }
    }

    #[test]
    fn the_start_is_the_median_of_what_is_finite() {
        assert_eq!(start_temperature(&[-3.0, 1.0, 2.0]), 2.0);
        assert_eq!(start_temperature(&[-3.0, 1.0, 2.0, f64::INFINITY, 8.0]), 2.5);
        assert_eq!(start_temperature(&[f64::INFINITY]), 0.0);
        assert_eq!(start_temperature(&[]), 0.0);
    }

    #[test]
    fn metropolis() {
        // exp(-1) = 0.3679
        assert!(margin(2.0, 0.367) > 2.0 && margin(2.0, 0.369) < 2.0);
        assert_eq!(margin(0.0, 0.0), 0.0, "without temperature nothing worse is accepted");
        assert_eq!(margin(1.0, 0.0), f64::INFINITY);
    }
}
