//! How tokens are drawn, and what is reported about them.

use std::collections::HashMap;

use super::structured::Structured;

/// Sampling parameters that the client gave; the others come from the model's generation defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingChoice {
    /// Temperature in [0, 2]; 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus (top-p) in (0, 1].
    pub top_p: Option<f64>,
    /// Top-k; 0 is off.
    pub top_k: Option<u32>,
    /// Seed, folded to 64 bits.
    pub seed: Option<u64>,
    /// Min-p in [0, 1]; 0 is off.
    pub min_p: Option<f64>,
    /// Repetition penalty, above 0; 1 is off.
    pub repetition_penalty: Option<f64>,
    /// Frequency penalty in [-2, 2]; 0 is off.
    pub frequency_penalty: Option<f64>,
    /// Presence penalty in [-2, 2]; 0 is off.
    pub presence_penalty: Option<f64>,
    /// Biases added to logits, by token id.
    pub logit_bias: HashMap<u32, f32>,
    /// Number of most likely tokens reported with each drawn token; present if log probabilities are requested.
    pub top_logprobs: Option<u32>,
    /// Number of most likely tokens reported with each token of the prompt (vLLM's `prompt_logprobs`); `None` if they are
    /// not requested.
    pub prompt_logprobs: Option<u32>,
    /// Whether log probabilities name tokens by their ids (vLLM's `return_tokens_as_token_ids`).
    pub tokens_as_ids: bool,
    /// First tokens of the answer, forced by the extension's `forced_token_ids`.
    pub forced: Vec<u32>,
    /// Form that the answer must have, if the client asks for one.
    pub structured: Option<Structured>,
}
