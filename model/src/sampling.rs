//! Choosing the next token from logits.
//!
//! The random number for output `index` depends on nothing but the seed and the index, so it does not matter which
//! node samples which token, or whether a request is replayed from the middle on another node.

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 always takes the most likely token.
    pub temperature: f32,
    /// Smallest set of most likely tokens with at least this probability; 1 for all.
    pub top_p: f32,
    /// At most this many of the most likely tokens; 0 for all.
    pub top_k: u32,
    /// Makes the choice repeatable.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, seed: None }
    }
}

/// Samples the tokens of one sequence, one after another.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
    index: u64,
}

impl Sampler {
    /// Starts at the output token `first_index`. Without a seed, one is drawn from the system.
    pub fn new(sampling: &Sampling, first_index: u64) -> Sampler {
        let seed = sampling.seed.unwrap_or_else(rand::random);
        Sampler { sampling: *sampling, seed, index: first_index }
    }

    /// The seed in use, so that another node can go on from here.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chooses the next token.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let token = Sampler::pick(&self.sampling, self.seed, self.index, logits);
        self.index += 1;
        token
    }

    /// Chooses the output token `index`. A pure function.
    pub fn pick(sampling: &Sampling, seed: u64, index: u64, logits: &[f32]) -> u32 {
        // Also where the temperature is so small that dividing by it would overflow.
        if sampling.temperature.is_nan() || sampling.temperature < 1e-5 || sampling.top_k == 1 {
            return argmax(logits);
        }
        let candidates = most_likely(logits, sampling.top_k);
        if candidates.first().is_none_or(|(_, highest)| highest.is_infinite()) {
            return argmax(logits);
        }
        let weights = nucleus(&candidates, sampling.temperature, sampling.top_p);
        let total: f64 = weights.iter().sum();
        let mut left = uniform(seed, index) * total;
        for (&(token, _), weight) in candidates.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return token;
            }
        }
        // Rounding can leave a sliver of the draw behind the last weight.
        candidates[weights.len() - 1].0
    }
}

/// The most likely token; the lower id where two are equal.
fn argmax(logits: &[f32]) -> u32 {
    let numbers = logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
    let best = numbers.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(token, _)| token as u32)
}

/// Tokens with their logits, most likely first, the lower id first where two are equal; `top_k` of them, or all for 0.
fn most_likely(logits: &[f32], top_k: u32) -> Vec<(u32, f32)> {
    let by_logit = |a: &(u32, f32), b: &(u32, f32)| -> Ordering { b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) };
    let numbered = logits.iter().enumerate().map(|(token, &logit)| (token as u32, logit));
    // A token that is forbidden, or that is no number at all, is no candidate.
    let mut candidates: Vec<_> = numbered.filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect();
    let keep = match top_k {
        0 => candidates.len(),
        some => candidates.len().min(some as usize),
    };
    if keep > 0 && keep < candidates.len() {
        // Selecting first spares sorting the whole vocabulary.
        candidates.select_nth_unstable_by(keep - 1, by_logit);
        candidates.truncate(keep);
    }
    candidates.sort_unstable_by(by_logit);
    candidates
}

/// Unnormalised probabilities of the shortest run of candidates, of which there is at least one, that has at least `top_p` of them all.
fn nucleus(candidates: &[(u32, f32)], temperature: f32, top_p: f32) -> Vec<f64> {
    let (_, highest) = candidates[0];
    let weight = |&(_, logit): &(u32, f32)| (f64::from(logit - highest) / f64::from(temperature)).exp();
    let mut weights: Vec<f64> = candidates.iter().map(weight).collect();
    let enough = weights.iter().sum::<f64>() * f64::from(top_p);
    let mut sum = 0.0;
    // At least one token, whatever `top_p` is.
    let kept = weights.iter().position(|weight| {
        sum += weight;
        sum >= enough
    });
    weights.truncate(kept.map_or(weights.len(), |last| last + 1));
    weights
}

/// A number in [0, 1) from one stream of ChaCha8 per index, keyed by the seed.
fn uniform(seed: u64, index: u64) -> f64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(index);
    // The upper 53 bits, all that an f64 holds.
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY];

    fn warm() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    /// How often each token was chosen for the first 4,000 outputs.
    fn counts(sampling: &Sampling) -> [usize; 5] {
        let mut counts = [0; 5];
        for index in 0..4000 {
            counts[Sampler::pick(sampling, 7, index, &LOGITS) as usize] += 1;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lower_id_of_equals() {
        assert_eq!(Sampler::pick(&Sampling::default(), 0, 0, &LOGITS), 1);
        let cold = Sampling { temperature: 1e-30, ..Sampling::default() };
        assert_eq!(Sampler::pick(&cold, 0, 0, &LOGITS), 1);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let counts = counts(&warm());
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        for (count, logit) in counts.iter().zip(LOGITS) {
            let expected = logit.exp() / total * 4000.0;
            assert!((*count as f32 - expected).abs() < 120.0, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let two = counts(&Sampling { top_k: 2, ..warm() });
        assert!(two[0] == 0 && two[2] == 0 && two[1] > 1800 && two[3] > 1800, "{two:?}");
        // Tokens 1 and 3 have 0.41 each, token 2 has 0.15.
        let nucleus = counts(&Sampling { top_p: 0.9, ..warm() });
        assert!(nucleus[0] == 0 && nucleus[2] > 400, "{nucleus:?}");
        let first = counts(&Sampling { top_p: 0.1, ..warm() });
        assert_eq!(first[1], 4000);
    }

    #[test]
    fn a_sampler_started_in_the_middle_goes_on_alike() {
        let sampling = Sampling { seed: Some(11), ..warm() };
        let mut whole = Sampler::new(&sampling, 0);
        let all: Vec<u32> = (0..20).map(|_| whole.sample(&LOGITS)).collect();
        let mut rest = Sampler::new(&sampling, 8);
        let tail: Vec<u32> = (8..20).map(|_| rest.sample(&LOGITS)).collect();
        assert_eq!(all[8..], tail);
    }

    #[test]
    fn seeds_differ_and_an_absent_seed_is_drawn() {
        let tokens = |seed| (0..64).map(|index| Sampler::pick(&warm(), seed, index, &LOGITS)).collect::<Vec<_>>();
        assert_ne!(tokens(1), tokens(2));
        assert_ne!(Sampler::new(&warm(), 0).seed(), Sampler::new(&warm(), 0).seed());
    }

    #[test]
    fn the_random_stream_never_changes() {
        // Nodes of different versions must agree; these are the first numbers of this definition.
        let found = [uniform(0, 0), uniform(0, 1), uniform(1, 0)];
        assert_eq!(found, [0.836_919_756_882_647_2, 0.789_161_889_278_416_4, 0.381_489_413_238_261]);
    }

    #[test]
    fn logits_that_are_no_numbers_do_not_panic() {
        let nothing = [f32::NAN; 3];
        assert_eq!(Sampler::pick(&warm(), 0, 0, &nothing), 0);
        assert_eq!(Sampler::pick(&warm(), 0, 0, &[f32::NAN, 1.0, f32::NAN]), 1);
    }
}
