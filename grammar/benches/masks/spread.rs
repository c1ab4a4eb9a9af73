//! Medians and percentiles.

/// The times of an answer's states.
pub struct Spread {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// The smallest, the middle and the largest of some values.
pub fn median(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

/// The spread over the states, each of which has the median of its rounds.
pub fn of_states(rounds: &[&Vec<f64>]) -> Spread {
    let of_state = |state: usize| median(&rounds.iter().map(|round| round[state]).collect::<Vec<_>>()).1;
    let mut states: Vec<f64> = (0..rounds[0].len()).map(of_state).collect();
    states.sort_by(f64::total_cmp);
    let at = |share: f64| states[((states.len() - 1) as f64 * share).round() as usize];
    let mean = states.iter().sum::<f64>() / states.len() as f64;
    Spread { mean, p50: at(0.5), p99: at(0.99), max: at(1.0) }
}
