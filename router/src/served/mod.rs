//! The model as the router knows it: tokenizer, chat template, end tokens and defaults. No weights are read here.

mod files;
mod load;

use secateur_proto::v1::Sampling;
use tokenizers::Tokenizer;

use crate::{openai::SamplingChoice, prompt::ChatTemplate};

pub use load::{LoadError, load};

/// Below this a temperature cannot be told from greedy, and dividing logits by it overflows.
const TEMPERATURE_GREEDY_BELOW: f64 = 1e-4;

/// Everything that the router needs of a checkpoint folder.
pub struct ServedModel {
    /// The name that clients use.
    pub name: String,
    /// The folder's name.
    pub root: String,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// blake3 of tokenizer.json, in hex; nodes must have the same.
    pub tokenizer_digest: String,
    /// None: the folder has no chat template.
    pub template: Option<ChatTemplate>,
    /// None: the model takes no pictures.
    pub image_token: Option<ImageToken>,
    /// Texts of tokens that only the template may produce.
    pub special_tokens: SpecialTokens,
    /// Tokens that end an answer, by the folder; nodes may add theirs.
    pub stop_token_ids: Vec<u32>,
    /// From config.json; none: only the nodes know.
    pub max_positions: Option<u32>,
    /// Size of the vocabulary, added tokens included.
    pub vocab: u32,
    /// Longest token in bytes: a bound on how few tokens a text can become.
    pub token_bytes_max: usize,
    /// What a request gets that says nothing of sampling.
    pub defaults: GenerationDefaults,
}

/// The token that stands for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageToken {
    /// Its id.
    pub id: u32,
    /// Its text, usually `<image>`.
    pub text: String,
}

/// Special tokens by text and by id.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// Their texts.
    pub texts: Vec<String>,
    /// Their ids.
    pub ids: std::collections::HashSet<u32>,
}

/// generation_config.json, as far as it is ours to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// `do_sample: false` makes greedy the default.
    pub is_greedy: bool,
    /// Default temperature.
    pub temperature: Option<f64>,
    /// Default nucleus.
    pub top_p: Option<f64>,
    /// Default top-k.
    pub top_k: Option<u32>,
}

impl GenerationDefaults {
    /// What the nodes are told: the request's values, then the checkpoint's, then OpenAI's.
    pub fn complete(&self, choice: &SamplingChoice) -> Sampling {
        let fallback = if self.is_greedy { 0.0 } else { self.temperature.unwrap_or(1.0) };
        let temperature = choice.temperature.unwrap_or(fallback);
        let temperature = if temperature < TEMPERATURE_GREEDY_BELOW { 0.0 } else { temperature };
        Sampling {
            temperature: temperature as f32,
            top_p: choice.top_p.or(self.top_p).unwrap_or(1.0).max(f64::from(f32::MIN_POSITIVE)) as f32,
            top_k: choice.top_k.or(self.top_k).unwrap_or(0),
            seed: choice.seed.unwrap_or_else(rand::random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_win_over_the_checkpoint_over_openai() {
        let card = GenerationDefaults { is_greedy: false, temperature: Some(0.6), top_p: Some(0.9), top_k: None };
        let sampling = card.complete(&SamplingChoice { temperature: Some(0.5), ..Default::default() });
        assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.5, 0.9, 0));
        assert_eq!(GenerationDefaults::default().complete(&SamplingChoice::default()).temperature, 1.0);
    }

    #[test]
    fn a_vanishing_temperature_is_greedy() {
        let choice = SamplingChoice { temperature: Some(1e-300), top_p: Some(1e-300), ..Default::default() };
        let sampling = GenerationDefaults::default().complete(&choice);
        assert_eq!(sampling.temperature, 0.0);
        assert!(sampling.top_p > 0.0);
        let greedy = GenerationDefaults { is_greedy: true, temperature: Some(0.7), ..Default::default() };
        assert_eq!(greedy.complete(&SamplingChoice::default()).temperature, 0.0);
    }
}
