//! Facts about a loaded model.

use crate::float::FloatType;

/// Description of a loaded checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Transformer blocks of the checkpoint, removed ones included.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block; the number divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rows of the embedding, that is, the number of token ids.
    pub vocab: usize,
    /// Positions that the checkpoint was made for.
    pub max_positions: usize,
    /// Format of weights and of KV; activations are f32.
    pub dtype: FloatType,
    /// Identity of the checkpoint (see [`crate::fingerprint`]), in hexadecimal.
    pub fingerprint: String,
    /// The architecture's class name in transformers, for example `LlavaForConditionalGeneration`.
    pub architecture: String,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// How pictures enter the prompt. Present even when the model was loaded without its vision tower.
    pub vision: Option<VisionInfo>,
}

/// How pictures enter the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisionInfo {
    /// The placeholder token that visual tokens replace.
    pub image_token_id: u32,
    /// Visual tokens of one picture, before pruning; the maximum where the number varies.
    pub tokens_per_image: usize,
    /// Whether the number of visual tokens depends on the picture's size.
    pub varies: bool,
    /// Height and width, in pixels, of the square that a CLIP tower takes; `None` for a tower that takes any size.
    pub image_size: Option<usize>,
}
