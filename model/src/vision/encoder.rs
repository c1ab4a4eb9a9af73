//! The vision side of a model: from a picture to its visual tokens.

use crate::checkpoint::{TowerConfig, VisionConfig, Weights};
use crate::error::Result;
use crate::vision::llava::LlavaEncoder;
use crate::vision::picture::Picture;
use crate::vision::qwen::QwenEncoder;
use crate::vision::tokens::VisualTokens;

/// The vision side of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) enum VisionEncoder {
    Llava(LlavaEncoder),
    Qwen(QwenEncoder),
}

impl VisionEncoder {
    /// Loads the vision side for a language model of width `hidden`.
    pub fn load(weights: &Weights, config: &VisionConfig, hidden: usize) -> Result<VisionEncoder> {
        match &config.tower {
            TowerConfig::Clip(config) => Ok(VisionEncoder::Llava(LlavaEncoder::load(weights, config, hidden)?)),
            TowerConfig::Qwen(config) => Ok(VisionEncoder::Qwen(QwenEncoder::load(weights, config)?)),
        }
    }

    /// The tower's input for a picture, in the layout of transformers' `pixel_values`: LLaVA [3, side, side],
    /// LLaVA-NeXT [tiles, 3, side, side], Qwen2.5-VL [patches, 3 * 2 * patch * patch].
    pub fn pixel_values(&self, picture: &Picture) -> Result<Vec<f32>> {
        match self {
            VisionEncoder::Llava(encoder) => Ok(encoder.pixel_values(picture)),
            VisionEncoder::Qwen(encoder) => encoder.pixel_values(picture),
        }
    }

    /// The visual tokens of each picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        match self {
            VisionEncoder::Llava(encoder) => encoder.see(pictures),
            VisionEncoder::Qwen(encoder) => encoder.see(pictures),
        }
    }
}
