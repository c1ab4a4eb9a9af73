//! The vision part of a configuration, validated: every value here is one that `vision` implements.

mod clip;
mod clip_processor;
mod processor;
mod qwen;
mod qwen_processor;
mod steps;

use std::path::Path;

use crate::checkpoint::as_typed::TopLevel;
use crate::error::Result;
use crate::info::VisionInfo;

pub(crate) use clip::{ClipConfig, FeatureSelect};
pub(crate) use processor::Scale;
pub(crate) use qwen::{QwenConfig, RATIO_MAX};
pub(crate) use steps::{ClipProcessor, QwenProcessor, Resize, Target};

/// The vision tower, and the token that marks its place in a prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VisionConfig {
    pub image_token_id: u32,
    pub tower: TowerConfig,
}

/// The kinds of vision towers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TowerConfig {
    /// The tower of LLaVA and LLaVA-NeXT.
    Clip(ClipConfig),
    /// The tower of Qwen2.5-VL.
    Qwen(QwenConfig),
}

impl VisionConfig {
    /// The vision part of a LLaVA, or of a LLaVA-NeXT, which cuts a picture into `tiles`.
    pub fn llava(typed: &TopLevel, tiles: bool) -> Result<VisionConfig> {
        let image_token_id = typed.image_token_id.or(typed.image_token_index).unwrap_or(32_000);
        Ok(VisionConfig { image_token_id, tower: TowerConfig::Clip(ClipConfig::validate(typed, tiles)?) })
    }

    /// The vision part of a Qwen2.5-VL, for a language model of width `hidden`.
    pub fn qwen(typed: &TopLevel, hidden: usize) -> Result<VisionConfig> {
        let image_token_id = typed.image_token_id.unwrap_or(151_655);
        Ok(VisionConfig { image_token_id, tower: TowerConfig::Qwen(QwenConfig::validate(typed, hidden)?) })
    }

    /// Adds the folder's image processor, if it has one: a node that only decodes needs none.
    pub fn read_processor(&mut self, dir: &Path) -> Result<()> {
        let Some(typed) = processor::read(dir)? else { return Ok(()) };
        match &mut self.tower {
            TowerConfig::Clip(clip) => clip.processor = Some(ClipProcessor::validate(&typed, clip)?),
            TowerConfig::Qwen(qwen) => qwen.processor = Some(QwenProcessor::validate(&typed, qwen)?),
        }
        Ok(())
    }

    /// The facts that users of the crate are told.
    pub fn info(&self) -> VisionInfo {
        let (tokens_per_image, varies, image_size) = match &self.tower {
            TowerConfig::Clip(clip) => (clip.tokens_per_image(), clip.pinpoints.is_some(), Some(clip.image_size)),
            TowerConfig::Qwen(qwen) => (qwen.tokens_per_image(), true, None),
        };
        VisionInfo { image_token_id: self.image_token_id, tokens_per_image, varies, image_size }
    }
}
