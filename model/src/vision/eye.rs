//! The vision side of a model: from a picture to its visual tokens.

use crate::checkpoint::{TowerConfig, VisionConfig, Weights};
use crate::error::Result;
use crate::vision::llava::LlavaEye;
use crate::vision::picture::Picture;
use crate::vision::qwen::QwenEye;
use crate::vision::tokens::VisualTokens;

/// The vision side of a checkpoint.
#[derive(Clone, Debug)]
pub(crate) enum Eye {
    Llava(LlavaEye),
    Qwen(QwenEye),
}

impl Eye {
    /// Loads the vision side for a language model of width `hidden`.
    pub fn load(weights: &Weights, config: &VisionConfig, hidden: usize) -> Result<Eye> {
        match &config.tower {
            TowerConfig::Clip(config) => Ok(Eye::Llava(LlavaEye::load(weights, config, hidden)?)),
            TowerConfig::Qwen(config) => Ok(Eye::Qwen(QwenEye::load(weights, config)?)),
        }
    }

    /// The tower's input for a picture, in the layout of transformers' `pixel_values`: LLaVA [3, side, side],
    /// LLaVA-NeXT [tiles, 3, side, side], Qwen2.5-VL [patches, 3 * 2 * patch * patch].
    pub fn pixel_values(&self, picture: &Picture) -> Result<Vec<f32>> {
        match self {
            Eye::Llava(eye) => Ok(eye.pixel_values(picture)),
            Eye::Qwen(eye) => eye.pixel_values(picture),
        }
    }

    /// The visual tokens of each picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        match self {
            Eye::Llava(eye) => eye.see(pictures),
            Eye::Qwen(eye) => eye.see(pictures),
        }
    }
}
