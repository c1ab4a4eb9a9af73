//! What a request can ask for.

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Smallest set of most likely tokens with at least this probability; 1 for all.
    pub top_p: f32,
    /// At most this many of the most likely tokens; 0 for all.
    pub top_k: u32,
    /// Only tokens at least this share as likely as the most likely one; 0 for all.
    pub min_p: f32,
    /// Divides the positive logits of tokens in prompt or answer, and multiplies negative ones; 1: off.
    pub repetition_penalty: f32,
    /// Taken off a token's logit for each time it stands in the answer.
    pub frequency_penalty: f32,
    /// Taken off a token's logit if it stands in the answer.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Makes the choice repeatable.
    pub seed: u64,
    /// Whether to report log probabilities, and of how many of the most likely tokens besides.
    pub top_logprobs: Option<u32>,
    /// Stop tokens cannot be drawn before the answer has this many tokens.
    pub min_tokens: u32,
    /// The answer's first tokens, whatever the logits say: what a distribution is asked for behind given words.
    pub forced: Vec<u32>,
}

impl Default for Sampling {
    /// Greedy.
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
        }
    }
}

impl Sampling {
    /// Whether the most likely token is always taken: also where the temperature is so small that dividing by it would
    /// overflow.
    pub fn is_greedy(&self) -> bool {
        self.temperature.is_nan() || self.temperature < 1e-5 || self.top_k == 1
    }

    /// Whether tokens of the prompt matter.
    pub fn repels_prompt(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// Whether tokens of the answer matter.
    pub(crate) fn has_penalties(&self) -> bool {
        self.repels_prompt() || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }
}
