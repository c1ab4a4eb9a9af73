//! The Llama part of a configuration, validated: every value here is one that `llama` implements.

use crate::checkpoint::as_typed::{Language, Rope};
use crate::error::{ModelError, Result};

/// A Llama's shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LanguageConfig {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    /// Divides `heads`.
    pub kv_heads: usize,
    /// Even, because rotary embedding pairs its halves.
    pub head_dim: usize,
    pub max_positions: usize,
    pub norm_epsilon: f32,
    pub rope_theta: f32,
    pub tied_embeddings: bool,
}

impl LanguageConfig {
    /// Checks what was typed. Missing keys take the defaults of transformers' `LlamaConfig`.
    /// `at` is the prefix for field names in errors: empty, or `text_config.`.
    pub fn validate(typed: &Language, at: &str) -> Result<LanguageConfig> {
        refuse_unsupported(typed, at)?;
        let heads = typed.num_attention_heads.unwrap_or(32);
        let hidden = typed.hidden_size.unwrap_or(4096);
        let config = LanguageConfig {
            vocab: typed.vocab_size.unwrap_or(32_000),
            hidden,
            intermediate: typed.intermediate_size.unwrap_or(11_008),
            layers: typed.num_hidden_layers.unwrap_or(32),
            heads,
            kv_heads: typed.num_key_value_heads.unwrap_or(heads),
            head_dim: typed.head_dim.unwrap_or(hidden / heads.max(1)),
            max_positions: typed.max_position_embeddings.unwrap_or(2048),
            norm_epsilon: typed.rms_norm_eps.unwrap_or(1e-6) as f32,
            rope_theta: rope_theta(typed) as f32,
            tied_embeddings: typed.tie_word_embeddings.unwrap_or(false),
        };
        config.check_shape(at)?;
        Ok(config)
    }

    fn check_shape(&self, at: &str) -> Result<()> {
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
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(ModelError::config(format!("{at}rope_theta"), "must be a positive number"));
        }
        Ok(())
    }
}

fn rope_theta(typed: &Language) -> f64 {
    let nested = typed.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    nested.or(typed.rope_theta).unwrap_or(10_000.0)
}

/// Refuses by name what would silently give other answers than the reference.
fn refuse_unsupported(typed: &Language, at: &str) -> Result<()> {
    let refuse = |field: &str, problem: String| Err(ModelError::config(format!("{at}{field}"), problem));
    let kind = typed.model_type.as_deref().unwrap_or("llama");
    if kind != "llama" {
        return refuse("model_type", format!("language model `{kind}` is not supported, only `llama`"));
    }
    let activation = typed.hidden_act.as_deref().unwrap_or("silu");
    if activation != "silu" {
        return refuse("hidden_act", format!("`{activation}` is not supported, only `silu`"));
    }
    if typed.attention_bias == Some(true) {
        return refuse("attention_bias", "biases in attention are not supported".to_owned());
    }
    if typed.mlp_bias == Some(true) {
        return refuse("mlp_bias", "biases in the MLP are not supported".to_owned());
    }
    if typed.quantization_config.is_some() {
        return refuse("quantization_config", "quantized checkpoints are not supported".to_owned());
    }
    if typed.partial_rotary_factor.is_some_and(|share| share != 1.0) {
        return refuse("partial_rotary_factor", "only 1.0 is supported".to_owned());
    }
    refuse_rope(typed.rope_scaling.as_ref(), &format!("{at}rope_scaling"))?;
    refuse_rope(typed.rope_parameters.as_ref(), &format!("{at}rope_parameters"))
}

fn refuse_rope(rope: Option<&Rope>, field: &str) -> Result<()> {
    let Some(rope) = rope else { return Ok(()) };
    let kind = rope.rope_type.as_deref().unwrap_or("default");
    if kind != "default" {
        let problem = format!("rotary scaling `{kind}` is not supported, only `default`");
        return Err(ModelError::config(field, problem));
    }
    if rope.partial_rotary_factor.is_some_and(|share| share != 1.0) {
        return Err(ModelError::config(format!("{field}.partial_rotary_factor"), "only 1.0 is supported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str) -> Result<LanguageConfig> {
        LanguageConfig::validate(&serde_json::from_str(json).unwrap(), "text_config.")
    }

    fn refused_field(json: &str) -> String {
        match validate(json) {
            Err(ModelError::Config { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn missing_keys_take_the_defaults_of_transformers() {
        // The text_config of llava-hf/llava-1.5-7b-hf, as it is on the hub.
        let config = validate(
            r#"{"_name_or_path": "lmsys/vicuna-7b-v1.5", "architectures": ["LlamaForCausalLM"],
                "max_position_embeddings": 4096, "model_type": "llama", "rms_norm_eps": 1e-05,
                "torch_dtype": "float16", "vocab_size": 32064}"#,
        );
        let expected = LanguageConfig {
            vocab: 32_064,
            hidden: 4096,
            intermediate: 11_008,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            max_positions: 4096,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            tied_embeddings: false,
        };
        assert_eq!(config.unwrap(), expected);
    }

    #[test]
    fn rope_theta_is_found_where_transformers_5_keeps_it() {
        let config = validate(r#"{"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}"#);
        assert_eq!(config.unwrap().rope_theta, 500_000.0);
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{"model_type": "qwen2"}"#, "text_config.model_type"),
            (r#"{"hidden_act": "gelu"}"#, "text_config.hidden_act"),
            (r#"{"attention_bias": true}"#, "text_config.attention_bias"),
            (r#"{"mlp_bias": true}"#, "text_config.mlp_bias"),
            (r#"{"quantization_config": {}}"#, "text_config.quantization_config"),
            (r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#, "text_config.rope_scaling"),
            (r#"{"rope_parameters": {"rope_type": "llama3"}}"#, "text_config.rope_parameters"),
            (r#"{"partial_rotary_factor": 0.5}"#, "text_config.partial_rotary_factor"),
            (r#"{"num_key_value_heads": 5}"#, "text_config.num_key_value_heads"),
            (r#"{"num_attention_heads": 0}"#, "text_config.num_attention_heads"),
            (r#"{"head_dim": 63}"#, "text_config.head_dim"),
        ];
        for (json, field) in cases {
            assert_eq!(refused_field(json), field, "{json}");
        }
    }
}
