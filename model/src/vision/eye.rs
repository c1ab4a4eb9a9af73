//! Everything between a picture and its visual tokens, in one piece.

use std::path::Path;

use candle_core::Device;

use crate::checkpoint::{VisionConfig, Weights};
use crate::error::Result;
use crate::float::FloatType;
use crate::vision::clip::Clip;
use crate::vision::picture::Picture;
use crate::vision::processor::Processor;
use crate::vision::projector::Projector;
use crate::vision::tokens::VisualTokens;

/// The vision side of a LLaVA.
#[derive(Clone, Debug)]
pub(crate) struct Eye {
    processor: Processor,
    tower: Clip,
    projector: Projector,
}

impl Eye {
    /// Loads the vision side of the checkpoint in `dir` for a language model of width `hidden`.
    pub fn load(
        dir: &Path,
        weights: &Weights,
        config: &VisionConfig,
        hidden: usize,
        compute: FloatType,
        device: &Device,
    ) -> Result<Eye> {
        Ok(Eye {
            processor: Processor::read(dir, config)?,
            tower: Clip::load(weights, config, compute, device)?,
            projector: Projector::load(weights, config, hidden)?,
        })
    }

    /// Pixel values [3, side, side] of a picture, as the tower takes them.
    pub fn pixel_values(&self, picture: &Picture) -> Vec<f32> {
        self.processor.apply(picture)
    }

    /// The visual tokens of a picture.
    pub fn see(&self, picture: &Picture) -> Result<VisualTokens> {
        let features = self.tower.forward(&self.pixel_values(picture))?;
        Ok(VisualTokens::new(self.projector.forward(&features)?))
    }
}
