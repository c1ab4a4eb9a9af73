//! `config.json` exactly as typed, key by key, before validation.
//!
//! Keys that do not change the result (initialisation, dropout, caching) are not listed here and so ignored. Keys that
//! would change it and are not implemented are listed, so that the validating modules can refuse them.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The top level: a vision-language model with nested parts, or a language model with its keys at this level.
#[derive(Debug, Deserialize)]
pub(crate) struct TopLevel {
    pub model_type: Option<String>,
    pub architectures: Option<Vec<String>>,
    /// transformers 5 writes `dtype`, earlier versions `torch_dtype`.
    pub dtype: Option<String>,
    pub torch_dtype: Option<String>,
    pub text_config: Option<Language>,
    pub vision_config: Option<Vision>,
    pub image_token_index: Option<u32>,
    pub image_token_id: Option<u32>,
    pub image_grid_pinpoints: Option<Value>,
    pub vision_feature_layer: Option<Value>,
    pub vision_feature_select_strategy: Option<String>,
    pub projector_hidden_act: Option<String>,
    pub multimodal_projector_bias: Option<bool>,
    pub tie_word_embeddings: Option<bool>,
    pub eos_token_id: Option<Value>,
    pub quantization_config: Option<Value>,
}

/// Keys of a language model, of any family.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Language {
    pub model_type: Option<String>,
    pub vocab_size: Option<usize>,
    pub hidden_size: Option<usize>,
    pub intermediate_size: Option<usize>,
    pub num_hidden_layers: Option<usize>,
    pub num_attention_heads: Option<usize>,
    /// A typed null differs from a missing key.
    #[serde(default, deserialize_with = "typed")]
    pub num_key_value_heads: Option<Option<usize>>,
    pub head_dim: Option<usize>,
    pub hidden_act: Option<String>,
    pub max_position_embeddings: Option<usize>,
    pub original_max_position_embeddings: Option<usize>,
    pub rms_norm_eps: Option<f64>,
    pub rope_theta: Option<f64>,
    pub rope_scaling: Option<Rope>,
    /// transformers 5 keeps here what earlier versions keep in `rope_theta` and `rope_scaling`.
    pub rope_parameters: Option<Rope>,
    pub partial_rotary_factor: Option<f64>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    /// A typed null differs from a missing key.
    #[serde(default, deserialize_with = "typed")]
    pub sliding_window: Option<Option<usize>>,
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub tie_word_embeddings: Option<bool>,
    pub eos_token_id: Option<Value>,
    pub quantization_config: Option<Value>,
}

/// Rotary embedding.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Rope {
    pub rope_type: Option<String>,
    /// Older spelling of `rope_type`; some files have both.
    #[serde(rename = "type")]
    pub old_type: Option<String>,
    pub rope_theta: Option<f64>,
    pub factor: Option<f64>,
    pub low_freq_factor: Option<f64>,
    pub high_freq_factor: Option<f64>,
    pub original_max_position_embeddings: Option<usize>,
    pub mrope_section: Option<Vec<usize>>,
    pub partial_rotary_factor: Option<f64>,
    /// All other keys, for example one set of parameters for each kind of layer.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Keys of a vision tower, CLIP's or Qwen2.5-VL's.
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
    pub depth: Option<usize>,
    pub num_heads: Option<usize>,
    pub in_channels: Option<usize>,
    pub in_chans: Option<usize>,
    pub spatial_merge_size: Option<usize>,
    pub temporal_patch_size: Option<Value>,
    pub window_size: Option<usize>,
    pub out_hidden_size: Option<usize>,
    pub fullatt_block_indexes: Option<Vec<usize>>,
    pub rope_parameters: Option<Rope>,
}

/// Distinguishes a key typed as null, `Some(None)`, from a missing one, `None`.
fn typed<'de, T: Deserialize<'de>, D: Deserializer<'de>>(json: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(json).map(Some)
}
