//! What a loaded model says about itself.

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
    /// Key and value heads of a block; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rows of the embedding, that is, token ids.
    pub vocab: usize,
    /// Positions that the checkpoint is made for.
    pub max_positions: usize,
    /// Format of activations and of KV.
    pub dtype: FloatType,
    /// Identity of the checkpoint (see [`crate::fingerprint`]), in hexadecimal.
    pub fingerprint: String,
    /// The architecture's class name in transformers, for example `LlavaForConditionalGeneration`.
    pub architecture: String,
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// How pictures enter the prompt. There even when the model was loaded without its vision tower.
    pub vision: Option<VisionInfo>,
}

/// How pictures enter the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisionInfo {
    /// The placeholder token whose place visual tokens take.
    pub image_token_id: u32,
    /// Visual tokens of one picture, before pruning; the most there can be where it varies.
    pub tokens_per_image: usize,
    /// Whether pictures of other sizes become other numbers of tokens.
    pub varies: bool,
    /// Height and width, in pixels, of the square that a CLIP tower sees; `None` for a tower that sees any size.
    pub image_size: Option<usize>,
}
