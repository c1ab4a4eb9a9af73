//! The language part of a configuration, validated: every value here is one that the language stack implements.

use crate::checkpoint::as_typed::Language;
use crate::checkpoint::family::Family;
use crate::checkpoint::rope::RopeConfig;
use crate::checkpoint::windows::windows;
use crate::error::{ModelError, Result};

/// The shape of a decoder-only language model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LanguageConfig {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    /// Number of key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Head width; even, because rotary embedding pairs its halves.
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm_epsilon: f32,
    pub rope: RopeConfig,
    pub tied_embeddings: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether attention's output projection has a bias.
    pub output_bias: bool,
    pub mlp_bias: bool,
    /// Whether each head of queries and keys is normalised before rotary embedding.
    pub qk_norm: bool,
    /// Sliding window of each layer: how many last slots a row sees, itself included; `None` if it sees all.
    pub windows: Vec<Option<usize>>,
}

impl LanguageConfig {
    /// Checks what was typed. Missing keys take the defaults of the family's class in transformers.
    /// `at` is the prefix for field names in errors: empty, or `text_config.`.
    pub fn validate(typed: &Language, family: Family, at: &str) -> Result<LanguageConfig> {
        refuse_unsupported(typed, at)?;
        let defaults = family.defaults();
        let heads = typed.num_attention_heads.unwrap_or(defaults.heads);
        let hidden = typed.hidden_size.unwrap_or(defaults.hidden);
        let layers = typed.num_hidden_layers.unwrap_or(defaults.layers);
        let head_dim = typed.head_dim.or(defaults.head_dim).unwrap_or(hidden / heads.max(1));
        // Llama has one switch for all four projections; Qwen2 always has biases on queries, keys and values, never on
        // the output.
        let attention_bias = typed.attention_bias.unwrap_or(false) && matches!(family, Family::Llama | Family::Qwen3);
        let config = LanguageConfig {
            vocab: typed.vocab_size.unwrap_or(defaults.vocab),
            hidden,
            intermediate: typed.intermediate_size.unwrap_or(defaults.intermediate),
            layers,
            heads,
            kv_heads: typed.num_key_value_heads.unwrap_or(defaults.kv_heads).unwrap_or(heads),
            head_dim,
            max_positions: typed.max_position_embeddings.unwrap_or(defaults.max_positions),
            norm_epsilon: typed.rms_norm_eps.unwrap_or(defaults.norm_epsilon) as f32,
            rope: RopeConfig::validate(typed, family, head_dim, at)?,
            tied_embeddings: typed.tie_word_embeddings.unwrap_or(false),
            qkv_bias: attention_bias || matches!(family, Family::Qwen2 | Family::Qwen25Vl),
            output_bias: attention_bias,
            mlp_bias: family == Family::Llama && typed.mlp_bias.unwrap_or(false),
            qk_norm: family == Family::Qwen3,
            windows: windows(typed, family, layers, at)?,
        };
        config.check_shape(family, at)?;
        Ok(config)
    }

    fn check_shape(&self, family: Family, at: &str) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab),
            ("hidden_size", self.hidden),
            ("intermediate_size", self.intermediate),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_positions),
        ];
        for (field, value) in positive {
            if value == 0 {
                return Err(ModelError::config(format!("{at}{field}"), "must not be 0"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem = format!("{} does not divide {} heads", self.kv_heads, self.heads);
            return Err(ModelError::config(format!("{at}num_key_value_heads"), problem));
        }
        if !self.head_dim.is_multiple_of(2) {
            let problem = format!("{} is odd; rotary embedding pairs halves", self.head_dim);
            return Err(ModelError::config(format!("{at}head_dim"), problem));
        }
        if family == Family::Qwen25Vl && self.head_dim * self.heads != self.hidden {
            let problem = format!("{} times {} heads is not the width {}", self.head_dim, self.heads, self.hidden);
            return Err(ModelError::config(format!("{at}head_dim"), problem));
        }
        Ok(())
    }
}

/// Refuses, by name, keys that would silently give other answers than the reference.
fn refuse_unsupported(typed: &Language, at: &str) -> Result<()> {
    let refuse = |field: &str, problem: &str| Err(ModelError::config(format!("{at}{field}"), problem));
    let activation = typed.hidden_act.as_deref().unwrap_or("silu");
    if !["silu", "swish"].contains(&activation) {
        return refuse("hidden_act", &format!("`{activation}` is not supported, only `silu`"));
    }
    if typed.quantization_config.is_some() {
        return refuse("quantization_config", "quantized checkpoints are not supported");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str, family: Family) -> Result<LanguageConfig> {
        LanguageConfig::validate(&serde_json::from_str(json).unwrap(), family, "text_config.")
    }

    fn refused_field(json: &str, family: Family) -> String {
        match validate(json, family) {
            Err(ModelError::Config { field, .. }) => field,
            other => panic!("{json}: expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn families_differ_in_their_defaults() {
        let of = |family| validate("{}", family).unwrap();
        let shape =
            |config: LanguageConfig| (config.vocab, config.hidden, config.layers, config.heads, config.kv_heads);
        assert_eq!(shape(of(Family::Llama)), (32_000, 4096, 32, 32, 32));
        assert_eq!(shape(of(Family::Mistral)), (32_000, 4096, 32, 32, 8));
        assert_eq!(shape(of(Family::Qwen2)), (151_936, 4096, 32, 32, 32));
        assert_eq!(shape(of(Family::Qwen3)), (151_936, 4096, 32, 32, 32));
        assert_eq!(shape(of(Family::Qwen25Vl)), (152_064, 8192, 80, 64, 8));
    }

    #[test]
    fn biases_and_norms_are_the_familys() {
        let of = |family| {
            let config = validate(r#"{"attention_bias": true, "mlp_bias": true}"#, family).unwrap();
            (config.qkv_bias, config.output_bias, config.mlp_bias, config.qk_norm)
        };
        assert_eq!(of(Family::Llama), (true, true, true, false));
        assert_eq!(of(Family::Mistral), (false, false, false, false));
        assert_eq!(of(Family::Qwen2), (true, false, false, false));
        assert_eq!(of(Family::Qwen3), (true, true, false, true));
        assert_eq!(of(Family::Qwen25Vl), (true, false, false, false));
        assert!(!validate("{}", Family::Llama).unwrap().qkv_bias);
    }

    #[test]
    fn key_heads_left_out_are_the_familys_and_null_means_as_many_as_query_heads() {
        let heads = |json: &str| validate(json, Family::Mistral).unwrap().kv_heads;
        assert_eq!([heads("{}"), heads(r#"{"num_key_value_heads": null}"#)], [8, 32]);
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{"hidden_act": "gelu"}"#, "text_config.hidden_act"),
            (r#"{"quantization_config": {}}"#, "text_config.quantization_config"),
            (r#"{"num_key_value_heads": 5}"#, "text_config.num_key_value_heads"),
            (r#"{"num_attention_heads": 0}"#, "text_config.num_attention_heads"),
            (r#"{"head_dim": 63}"#, "text_config.head_dim"),
        ];
        for (json, field) in cases {
            assert_eq!(refused_field(json, Family::Llama), field);
        }
        let other_width = r#"{"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 128}"#;
        assert_eq!(refused_field(other_width, Family::Qwen25Vl), "text_config.head_dim");
    }
}
