//! One answer's sampler.

use std::collections::{HashMap, HashSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use secateur_grammar::{Constraint, GrammarError};

use crate::error::{ModelError, Result};
use crate::sampling::logprobs::{Reference, TokenLogprob, are_numbers};
use crate::sampling::nucleus::candidates;
use crate::sampling::params::Sampling;

/// Draws the tokens of one answer in sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    stop_token_ids: Vec<u32>,
    prompt: HashSet<u32>,
    /// Occurrences of each token in the answer; only kept if a penalty needs them.
    counts: HashMap<u32, u32>,
    /// Number of tokens in the answer so far.
    index: u64,
    /// State of the answer's grammar, if it has one.
    constraint: Option<Constraint>,
    /// Why the answer's tokens are not what its grammar allows.
    left: Option<GrammarError>,
}

/// A drawn token.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The token id.
    pub token: u32,
    /// Log probabilities, if the request asks for them.
    pub logprob: Option<TokenLogprob>,
}

impl Sampler {
    /// A sampler for an answer that already has the tokens `emitted`. `prompt` is only read if
    /// [`Sampling::repels_prompt`].
    pub fn new(sampling: Sampling, stop_token_ids: Vec<u32>, prompt: &[u32], emitted: &[u32]) -> Sampler {
        Sampler::constrained(sampling, stop_token_ids, prompt, emitted, None)
    }

    /// A sampler that also holds the answer to a grammar, of which `constraint` is the state in front of `emitted`.
    pub fn constrained(
        sampling: Sampling,
        stop_token_ids: Vec<u32>,
        prompt: &[u32],
        emitted: &[u32],
        constraint: Option<Constraint>,
    ) -> Sampler {
        let prompt = if sampling.repels_prompt() { prompt.iter().copied().collect() } else { HashSet::new() };
        let counts = HashMap::new();
        let mut sampler = Sampler { sampling, stop_token_ids, prompt, counts, index: 0, constraint, left: None };
        for &token in emitted {
            sampler.note(token);
        }
        sampler
    }

    /// Records a token of the answer that was drawn elsewhere.
    pub fn note(&mut self, token: u32) {
        self.index += 1;
        if self.sampling.has_penalties() {
            *self.counts.entry(token).or_default() += 1;
        }
        if let Some(constraint) = &mut self.constraint {
            self.left = self.left.take().or(constraint.accept(token).err());
        }
    }

    /// Draws and records the next token. Changes the logits. Fails if the logits do not define a distribution, because
    /// any token would then be wrong text.
    pub fn draw(&mut self, logits: &mut [f32]) -> Result<Drawn, ModelError> {
        if !are_numbers(logits) {
            return Err(ModelError::Logits);
        }
        if let Some(left) = &self.left {
            return Err(left.clone().into());
        }
        let reference = self.sampling.top_logprobs.map(|top| Reference::of(logits, top as usize));
        // Bias, penalties, bans and the grammar change logits, so the drawn token's original logit has to be kept.
        let unchanged = reference.is_some().then(|| logits.to_vec());
        self.shape(logits);
        let token = match self.forced(logits.len()) {
            Some(token) => token,
            None => self.choose(logits)?,
        };
        self.note(token);
        let logprob = reference.zip(unchanged).map(|(reference, logits)| reference.report(logits[token as usize]));
        Ok(Drawn { token, logprob })
    }

    /// Whether [`Sampler::prepare`] has something to do that takes time.
    pub(crate) fn has_to_prepare(&self) -> bool {
        let is_forced = usize::try_from(self.index).is_ok_and(|index| index < self.sampling.forced.len());
        // The likeliest token is mostly allowed, and one token is looked up sooner than a mask is made.
        let wants_mask = |constraint: &Constraint| !self.sampling.is_greedy() || constraint.needs_mask();
        self.left.is_none() && !is_forced && self.constraint.as_ref().is_some_and(wants_mask)
    }

    /// Does what the next draw needs and what does not depend on its logits; may run while they are computed.
    pub(crate) fn prepare(&mut self) {
        if let Some(constraint) = &mut self.constraint {
            constraint.prepare();
        }
    }

    /// The next token by the answer's grammar, if it has one, and by its likelihood.
    fn choose(&mut self, logits: &mut [f32]) -> Result<u32, ModelError> {
        let may_end = self.may_end();
        if let Some(constraint) = &mut self.constraint {
            if self.sampling.is_greedy()
                && let Some(best) = argmax(logits)
                && (may_end || !self.stop_token_ids.contains(&best))
                && constraint.certainly_allows(best)
            {
                return Ok(best);
            }
            constraint.apply(logits)?;
            // An answer that is complete by its grammar can only end, however short it is.
            if !may_end && self.can_go_on(logits) {
                self.ban_stops(logits);
            }
        }
        self.pick(logits).ok_or(ModelError::Logits)
    }

    /// The next token, if the request forces it.
    fn forced(&self, vocab: usize) -> Option<u32> {
        let token = *self.sampling.forced.get(usize::try_from(self.index).ok()?)?;
        ((token as usize) < vocab).then_some(token)
    }

    /// Applies bias, bans and penalties, in vLLM's order.
    fn shape(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if !self.may_end() && self.constraint.is_none() {
            self.ban_stops(logits);
        }
        if self.sampling.repels_prompt() {
            for &token in self.prompt.iter().chain(self.counts.keys().filter(|token| !self.prompt.contains(token))) {
                if let Some(logit) = logits.get_mut(token as usize) {
                    let penalty = self.sampling.repetition_penalty;
                    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                }
            }
        }
        for (&token, &count) in &self.counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= count as f32 * self.sampling.frequency_penalty + self.sampling.presence_penalty;
            }
        }
    }

    /// Whether the answer has as many tokens as it must have.
    fn may_end(&self) -> bool {
        self.index >= u64::from(self.sampling.min_tokens)
    }

    /// Whether some token that does not end the answer is not banned.
    fn can_go_on(&self, logits: &[f32]) -> bool {
        let goes_on = |(token, logit): (usize, &f32)| {
            *logit > f32::NEG_INFINITY && !self.stop_token_ids.iter().any(|&stop| stop as usize == token)
        };
        logits.iter().enumerate().any(goes_on)
    }

    fn ban_stops(&self, logits: &mut [f32]) {
        for &token in &self.stop_token_ids {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Picks a token; `None` if every token is banned.
    fn pick(&self, logits: &[f32]) -> Option<u32> {
        let Sampling { temperature, min_p, top_k, top_p, seed, .. } = self.sampling;
        if self.sampling.is_greedy() {
            return argmax(logits);
        }
        let left = candidates(logits, temperature, min_p, top_k, top_p);
        let &(last, _) = left.last()?;
        let total: f64 = left.iter().map(|(_, weight)| weight).sum();
        let mut rest = uniform(seed, self.index) * total;
        for &(token, weight) in &left {
            rest -= weight;
            if rest < 0.0 {
                return Some(token);
            }
        }
        // Rounding can leave a small rest of the draw after the last weight.
        Some(last)
    }
}

/// The most likely token; the lower id if two are equal. `None` if all tokens are banned.
fn argmax(logits: &[f32]) -> Option<u32> {
    let larger = |one: f32, other: f32| if other > one { other } else { one };
    let (chunks, rest) = logits.as_chunks::<16>();
    let mut highest = [f32::NEG_INFINITY; 16];
    // A maximum for each place in the chunks, so that the loop vectorises.
    for chunk in chunks {
        for (highest, &logit) in highest.iter_mut().zip(chunk) {
            *highest = larger(*highest, logit);
        }
    }
    let best = highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger);
    let place = (best > f32::NEG_INFINITY).then(|| logits.iter().position(|&logit| logit == best)).flatten();
    place.map(|place| place as u32)
}

/// A number in [0, 1) from one stream of ChaCha8 per index, keyed by the seed.
fn uniform(seed: u64, index: u64) -> f64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(index);
    // The upper 53 bits, as many as an f64's significand holds.
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod held;

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY];

    fn warm(seed: u64) -> Sampling {
        Sampling { temperature: 1.0, seed, ..Sampling::default() }
    }

    fn draws(sampling: Sampling, emitted: &[u32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, vec![3], &[], emitted);
        (0..count).map(|_| sampler.draw(&mut LOGITS.clone()).unwrap().token).collect()
    }

    #[test]
    fn greedy_takes_the_lower_id_of_equals() {
        assert_eq!(draws(Sampling::default(), &[], 1), [1]);
        assert_eq!(draws(Sampling { temperature: 1e-30, ..warm(0) }, &[], 1), [1]);
    }

    #[test]
    fn the_most_likely_token_is_the_first_of_the_largest() {
        let mut logits: Vec<f32> = (0..101).map(|at| ((at * 37) % 23) as f32 - 30.0).collect();
        logits[50] = f32::NAN;
        for len in [0, 1, 15, 16, 17, 33, 101] {
            let mut expected = (None, f32::NEG_INFINITY);
            for (token, &logit) in logits[..len].iter().enumerate() {
                if logit > expected.1 {
                    expected = (Some(token as u32), logit);
                }
            }
            assert_eq!(argmax(&logits[..len]), expected.0, "{len}");
        }
        assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), None);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let drawn = draws(warm(7), &[], 4000);
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        for (token, logit) in LOGITS.iter().enumerate() {
            let count = drawn.iter().filter(|&&drawn| drawn == token as u32).count();
            let expected = logit.exp() / total * 4000.0;
            assert!((count as f32 - expected).abs() < 120.0, "{token}: {count}, expected {expected}");
        }
    }

    #[test]
    fn a_sampler_started_in_the_middle_goes_on_alike() {
        let sampling = Sampling { frequency_penalty: 0.4, repetition_penalty: 1.3, ..warm(11) };
        let all = draws(sampling.clone(), &[], 20);
        assert_eq!(all[8..], draws(sampling, &all[..8], 12));
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(draws(warm(1), &[], 64), draws(warm(2), &[], 64));
    }

    #[test]
    fn stop_tokens_are_banned_until_there_are_enough() {
        let sampling = Sampling { logit_bias: vec![(3, 50.0), (99, 1.0)], min_tokens: 2, ..Sampling::default() };
        assert_eq!(draws(sampling, &[], 3), [1, 1, 3]);
    }

    /// The end is the likeliest, and is put off as long as the grammar leaves another token.
    #[test]
    fn stop_tokens_are_banned_where_a_grammar_goes_on() {
        let tokenizer = serde_json::json!({
            "decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 3, "content": "<end>", "special": true}],
            "model": {"vocab": {"a": 0, "b": 1, "c": 2}},
        });
        let vocabulary = secateur_grammar::Vocabulary::of_tokenizer(&tokenizer, Some(3)).unwrap();
        let drawn = |regex: &str, min_tokens| {
            let constraint = vocabulary.compile(&secateur_grammar::Grammar::regex(regex), &[3]).unwrap();
            let sampling = Sampling { min_tokens, ..Sampling::default() };
            let mut sampler = Sampler::constrained(sampling, vec![3], &[], &[], Some(constraint));
            (0..3).map(|_| sampler.draw(&mut [0.0, 1.0, 2.0, 9.0]).unwrap().token).collect::<Vec<_>>()
        };
        assert_eq!(drawn("[abc]*", 0), [3, 3, 3]);
        assert_eq!(drawn("[abc]*", 2), [2, 2, 3]);
        assert_eq!(drawn("a?", 2), [0, 3, 3], "nothing may follow");
    }

    #[test]
    fn penalties_repel_what_was_said() {
        let sampling = Sampling { presence_penalty: 2.0, ..Sampling::default() };
        assert_eq!(draws(sampling, &[], 3), [1, 3, 2]);
        let sampling = Sampling { frequency_penalty: 0.6, ..Sampling::default() };
        assert_eq!(draws(sampling, &[], 4), [1, 3, 1, 3]);
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, Vec::new(), &[1, 3], &[]);
        assert_eq!(sampler.draw(&mut LOGITS.clone()).unwrap().token, 2);
    }

    #[test]
    fn log_probabilities_are_the_models_own() {
        let sampling = Sampling { logit_bias: vec![(0, 100.0)], top_logprobs: Some(1), ..Sampling::default() };
        let drawn = Sampler::new(sampling, Vec::new(), &[], &[]).draw(&mut LOGITS.clone()).unwrap();
        let logprob = drawn.logprob.unwrap();
        assert_eq!((drawn.token, logprob.top[0].0), (0, 1));
        assert!((logprob.logprob - (logprob.top[0].1 - 2.0)).abs() < 1e-6);
    }

    #[test]
    fn forced_tokens_come_first_and_leave_the_distribution_as_it_is() {
        let sampling = Sampling { forced: vec![4, 0], top_logprobs: Some(1), ..Sampling::default() };
        let mut sampler = Sampler::new(sampling.clone(), Vec::new(), &[], &[]);
        let drawn: Vec<Drawn> = (0..3).map(|_| sampler.draw(&mut LOGITS.clone()).unwrap()).collect();
        assert_eq!(drawn.iter().map(|drawn| drawn.token).collect::<Vec<_>>(), [4, 0, 1]);
        let top: Vec<_> = drawn.iter().map(|drawn| drawn.logprob.clone().unwrap().top).collect();
        assert!(top[0] == top[2] && top[1] == top[2]);
        // A replay continues within the forced tokens.
        let mut replayed = Sampler::new(sampling, Vec::new(), &[], &[4]);
        assert_eq!(replayed.draw(&mut LOGITS.clone()).unwrap().token, 0);
    }

    #[test]
    fn the_random_stream_never_changes() {
        // Nodes of different versions must agree; these are the first numbers of this definition.
        let found = [uniform(0, 0), uniform(0, 1), uniform(1, 0)];
        assert_eq!(found, [0.836_919_756_882_647_2, 0.789_161_889_278_416_4, 0.381_489_413_238_261]);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_and_no_token() {
        const NONE: f32 = f32::NEG_INFINITY;
        let rows = [[f32::NAN; 3], [1.0, f32::NAN, 2.0], [NONE; 3], [1.0, f32::INFINITY, 2.0]];
        for sampling in [Sampling::default(), warm(0), Sampling { top_logprobs: Some(2), ..warm(0) }] {
            let mut sampler = Sampler::new(sampling, vec![1], &[], &[]);
            for mut row in rows {
                assert!(matches!(sampler.draw(&mut row), Err(ModelError::Logits)), "{row:?}");
            }
            assert_eq!(sampler.draw(&mut [NONE, NONE, 1.0]).unwrap().token, 2);
        }
    }

    #[test]
    fn a_token_that_is_banned_does_not_hide_that_its_logit_was_no_number() {
        let sampling = Sampling { min_tokens: 5, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, vec![0], &[], &[]);
        assert!(matches!(sampler.draw(&mut [f32::NAN, 1.0]), Err(ModelError::Logits)));
        let mut all_banned = Sampler::new(Sampling { min_tokens: 5, ..warm(0) }, vec![0, 1], &[], &[]);
        assert!(matches!(all_banned.draw(&mut [3.0, 1.0]), Err(ModelError::Logits)));
    }
}
