//! Sampling parameters of a request.

use secateur_grammar::Grammar;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature, which divides logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Nucleus probability: tokens are drawn from the smallest set of most likely ones that has at least this
    /// probability; 1 for all.
    pub top_p: f32,
    /// Most likely tokens to draw from, at most this many; 0 for all.
    pub top_k: u32,
    /// Minimum probability relative to the most likely token; 0 for all tokens.
    pub min_p: f32,
    /// Penalty that divides the positive logits of tokens in prompt or answer, and multiplies negative ones; 1 is off.
    pub repetition_penalty: f32,
    /// Penalty subtracted from a token's logit for each of its occurrences in the answer.
    pub frequency_penalty: f32,
    /// Penalty subtracted once from the logit of a token that occurs in the answer.
    pub presence_penalty: f32,
    /// Values added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws; the same seed repeats the same draws.
    pub seed: u64,
    /// How many of the most likely tokens to report log probabilities of, besides the drawn one; `None` for no report.
    pub top_logprobs: Option<u32>,
    /// Tokens that the answer must have before a stop token can be drawn.
    pub min_tokens: u32,
    /// Tokens that the answer starts with, whatever the logits say: for the distribution after given words.
    pub forced: Vec<u32>,
    /// Form that the whole answer must have.
    pub grammar: Option<Grammar>,
}

impl Default for Sampling {
    /// Greedy sampling.
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            top_logprobs: None,
            min_tokens: 0,
            forced: Vec::new(),
            grammar: None,
        }
    }
}

impl Sampling {
    /// Whether the most likely token is always taken, which includes temperatures so small that dividing by them would
    /// overflow.
    pub fn is_greedy(&self) -> bool {
        self.temperature.is_nan() || self.temperature < 1e-5 || self.top_k == 1
    }

    /// Whether tokens of the prompt influence sampling.
    pub fn repels_prompt(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// Whether tokens of the answer influence sampling.
    pub(crate) fn has_penalties(&self) -> bool {
        self.repels_prompt() || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }
}
