//! Completes a request's sampling parameters from generation_config.json and OpenAI's defaults.
//!
//! Precedence for each value: **request > generation_config.json > OpenAI**. OpenAI's defaults are temperature 1, top_p
//! 1 and everything else off. `do_sample: false` in the file means a default temperature of 0, whatever temperature the
//! file gives. Without `do_sample` the file's temperature counts, and if it has none, OpenAI's 1. (transformers would
//! be greedy then, but clients of this API expect 1.) The file's other values apply at any temperature.

use secateur_grammar::Grammar;
use secateur_proto::v1::{self, Sampling};

use crate::request::{MaxTokens, SamplingChoice};

/// Temperature below which sampling is greedy: the result is the same, and dividing logits by it would overflow.
const TEMPERATURE_GREEDY_BELOW: f64 = 1e-4;

/// The values of generation_config.json that the router applies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Whether the default is greedy (`do_sample: false`).
    pub is_greedy: bool,
    /// Default temperature.
    pub temperature: Option<f64>,
    /// Default nucleus (top-p).
    pub top_p: Option<f64>,
    /// Default top-k.
    pub top_k: Option<u32>,
    /// Default min-p.
    pub min_p: Option<f64>,
    /// Default repetition penalty.
    pub repetition_penalty: Option<f64>,
    /// Most tokens of an answer if the request gives no limit.
    pub max_new_tokens: Option<u32>,
    /// Most tokens of prompt and answer together, if neither the request nor `max_new_tokens` limits the answer.
    pub max_length: Option<u32>,
}

impl GenerationDefaults {
    /// The length limit of an answer, given the request's own limit.
    pub fn bound(&self, asked: &MaxTokens) -> MaxTokens {
        match (&asked.sent, self.max_new_tokens, self.max_length) {
            (None, Some(most), _) => MaxTokens { tokens: Some(most), ..asked.clone() },
            (None, None, Some(total)) if asked.tokens.is_none() => MaxTokens { total: Some(total), ..asked.clone() },
            _ => asked.clone(),
        }
    }

    /// The nodes' sampling parameters for `choice`; stop tokens cannot be drawn among the first `min_tokens`.
    pub fn complete(&self, choice: &SamplingChoice, min_tokens: u32) -> Sampling {
        let fallback = if self.is_greedy { 0.0 } else { self.temperature.unwrap_or(1.0) };
        let temperature = choice.temperature.unwrap_or(fallback);
        let temperature = if temperature < TEMPERATURE_GREEDY_BELOW { 0.0 } else { temperature };
        Sampling {
            temperature: temperature as f32,
            top_p: positive(choice.top_p.or(self.top_p).unwrap_or(1.0)),
            top_k: choice.top_k.or(self.top_k).unwrap_or(0),
            seed: choice.seed.unwrap_or_else(rand::random),
            min_p: choice.min_p.or(self.min_p).unwrap_or(0.0) as f32,
            repetition_penalty: positive(choice.repetition_penalty.or(self.repetition_penalty).unwrap_or(1.0)),
            frequency_penalty: choice.frequency_penalty.unwrap_or(0.0) as f32,
            presence_penalty: choice.presence_penalty.unwrap_or(0.0) as f32,
            logit_bias: choice.logit_bias.clone(),
            top_logprobs: choice.top_logprobs,
            min_tokens,
            forced: choice.forced.clone(),
            grammar: choice.structured.as_ref().map(|structured| message(&structured.grammar)),
        }
    }
}

fn message(grammar: &Grammar) -> v1::Grammar {
    use v1::grammar::Kind;
    let kind = match grammar.clone() {
        Grammar::JsonSchema(schema) => Kind::JsonSchema(schema),
        Grammar::Regex(regex) => Kind::Regex(regex),
        Grammar::Lark(lark) => Kind::Lark(lark),
    };
    v1::Grammar { kind: Some(kind) }
}

/// Whether the repetition penalty has an effect; on the wire, 0 means "not set" and 1 means "off".
pub fn penalizes_repetition(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 0.0 && sampling.repetition_penalty != 1.0
}

/// Narrows a value to the wire's 32 bits without making it 0 (which means "not set" on the wire) or infinite.
fn positive(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_win_over_the_checkpoint_over_openai() {
        let card = GenerationDefaults {
            temperature: Some(0.6),
            top_p: Some(0.9),
            repetition_penalty: Some(1.1),
            ..Default::default()
        };
        let choice = SamplingChoice { temperature: Some(0.5), min_p: Some(0.25), ..Default::default() };
        let sampling = card.complete(&choice, 3);
        assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k), (0.5, 0.9, 0));
        assert_eq!((sampling.min_p, sampling.repetition_penalty, sampling.min_tokens), (0.25, 1.1, 3));
        let openai = GenerationDefaults::default().complete(&SamplingChoice::default(), 0);
        assert_eq!((openai.temperature, openai.top_p, openai.top_k, openai.min_p), (1.0, 1.0, 0, 0.0));
        assert!(penalizes_repetition(&sampling) && !penalizes_repetition(&openai));
    }

    #[test]
    fn lengths_are_the_clients_then_the_files() {
        let asked = |tokens, sent: Option<&str>| MaxTokens {
            tokens,
            field: "max_tokens",
            sent: sent.map(str::to_owned),
            total: None,
        };
        let bound = |defaults: GenerationDefaults, asked| {
            let bound = defaults.bound(&asked);
            (bound.tokens, bound.total)
        };
        let new = GenerationDefaults { max_new_tokens: Some(7), max_length: Some(50), ..Default::default() };
        assert_eq!(bound(new, asked(Some(5), Some("5"))), (Some(5), None));
        assert_eq!(bound(new, asked(None, None)), (Some(7), None));
        assert_eq!(bound(new, asked(Some(16), None)), (Some(7), None), "the file wins over OpenAI's default");
        let total = GenerationDefaults { max_length: Some(50), ..Default::default() };
        assert_eq!(bound(total, asked(None, None)), (None, Some(50)));
        assert_eq!(bound(total, asked(Some(16), None)), (Some(16), None));
        assert_eq!(bound(GenerationDefaults::default(), asked(None, None)), (None, None));
    }

    #[test]
    fn a_vanishing_temperature_is_greedy() {
        let choice = SamplingChoice { temperature: Some(1e-300), top_p: Some(1e-300), ..Default::default() };
        let sampling = GenerationDefaults::default().complete(&choice, 0);
        assert_eq!(sampling.temperature, 0.0);
        assert!(sampling.top_p > 0.0);
        let greedy = GenerationDefaults { is_greedy: true, temperature: Some(0.7), ..Default::default() };
        assert_eq!(greedy.complete(&SamplingChoice::default(), 0).temperature, 0.0);
        let asked = SamplingChoice { temperature: Some(0.5), ..Default::default() };
        assert_eq!(greedy.complete(&asked, 0).temperature, 0.5);
    }

    #[test]
    fn no_value_becomes_another_meaning_on_the_wire() {
        for (value, sent) in [(1e-300, f32::MIN_POSITIVE), (1e300, f32::MAX), (1.5, 1.5)] {
            let choice = SamplingChoice { repetition_penalty: Some(value), ..Default::default() };
            assert_eq!(GenerationDefaults::default().complete(&choice, 0).repetition_penalty, sent);
        }
    }
}
