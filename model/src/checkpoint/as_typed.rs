//! `config.json` exactly as it is typed, key by key, nothing judged yet.
//!
//! Keys that do not change the result (initialisation, dropout, caching) are not listed and so ignored. Keys that
//! would change it and that we do not implement are listed, so that `language` and `vision` can refuse them.

use serde::Deserialize;
use serde_json::Value;

/// The top level: either a LLaVA with nested parts, or a Llama with its keys right here.
#[derive(Debug, Deserialize)]
pub(crate) struct TopLevel {
    pub model_type: Option<String>,
    pub architectures: Option<Vec<String>>,
    /// transformers 5 writes `dtype`, earlier ones `torch_dtype`.
    #[serde(alias = "torch_dtype")]
    pub dtype: Option<String>,
    pub text_config: Option<Language>,
    pub vision_config: Option<Vision>,
    pub image_token_index: Option<u32>,
    pub image_token_id: Option<u32>,
    pub vision_feature_layer: Option<Value>,
    pub vision_feature_select_strategy: Option<String>,
    pub projector_hidden_act: Option<String>,
    pub multimodal_projector_bias: Option<bool>,
    pub tie_word_embeddings: Option<bool>,
    pub eos_token_id: Option<Value>,
    pub quantization_config: Option<Value>,
}

/// Keys of a Llama.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Language {
    pub model_type: Option<String>,
    pub vocab_size: Option<usize>,
    pub hidden_size: Option<usize>,
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: Option<usize>,
    pub num_attention_heads: Option<usize>,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub hidden_act: Option<String>,
    pub max_position_embeddings: Option<usize>,
    pub rms_norm_eps: Option<f64>,
    pub rope_theta: Option<f64>,
    pub rope_scaling: Option<Rope>,
    /// Where transformers 5 keeps what `rope_theta` and `rope_scaling` were.
    pub rope_parameters: Option<Rope>,
    pub partial_rotary_factor: Option<f64>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    pub tie_word_embeddings: Option<bool>,
    pub eos_token_id: Option<Value>,
    pub quantization_config: Option<Value>,
}

/// Rotary embedding.
#[derive(Debug, Deserialize)]
pub(crate) struct Rope {
    /// Earlier files say `type`.
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    pub rope_theta: Option<f64>,
    pub partial_rotary_factor: Option<f64>,
}

/// Keys of a CLIP vision tower.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Vision {
    pub model_type: Option<String>,
    pub hidden_size: Option<usize>,
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: Option<usize>,
    pub num_attention_heads: Option<usize>,
    pub num_channels: Option<usize>,
    pub image_size: Option<Value>,
    pub patch_size: Option<Value>,
    pub hidden_act: Option<String>,
    pub layer_norm_eps: Option<f64>,
}
