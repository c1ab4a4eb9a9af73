//! `preprocessor_config.json` as typed, and the steps that all image processors share.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::json;
use crate::error::{ModelError, Result};
use crate::vision::Filter;

/// The keys of every image processor.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct AsTyped {
    pub image_processor_type: Option<String>,
    pub do_resize: Option<bool>,
    pub size: Option<Value>,
    pub resample: Option<u64>,
    pub do_center_crop: Option<bool>,
    pub crop_size: Option<Value>,
    pub do_rescale: Option<bool>,
    pub rescale_factor: Option<f64>,
    pub do_normalize: Option<bool>,
    pub image_mean: Option<[f32; 3]>,
    pub image_std: Option<[f32; 3]>,
    pub do_pad: Option<bool>,
    pub image_grid_pinpoints: Option<Value>,
    pub min_pixels: Option<usize>,
    pub max_pixels: Option<usize>,
    pub patch_size: Option<usize>,
    pub temporal_patch_size: Option<usize>,
    pub merge_size: Option<usize>,
}

/// transformers 5 nests the image processor's keys in `processor_config.json`.
#[derive(Deserialize)]
struct Nesting {
    image_processor: Option<AsTyped>,
}

/// Conversion of 8-bit values to numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Factor on 8-bit values.
    pub rescale: Option<f64>,
    pub normalize: Option<Normalize>,
}

/// `(x - mean) / std`, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normalize {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// The means and deviations that CLIP was trained with, the default of all processors here.
pub(crate) const CLIP_NORMALIZE: Normalize =
    Normalize { mean: [0.481_454_66, 0.457_827_5, 0.408_210_73], std: [0.268_629_54, 0.261_302_6, 0.275_777_1] };

/// The folder's image processor; if two files describe one, `processor_config.json` wins, as in transformers.
pub(crate) fn read(dir: &Path) -> Result<Option<AsTyped>> {
    let nesting: Option<Nesting> = json::read_optional(&dir.join("processor_config.json"))?;
    match nesting.and_then(|nesting| nesting.image_processor) {
        Some(typed) => Ok(Some(typed)),
        None => json::read_optional(&dir.join("preprocessor_config.json")),
    }
}

/// The value of a switch; a missing switch is on.
pub(crate) fn wanted(flag: Option<bool>) -> bool {
    flag.unwrap_or(true)
}

/// A positive length in pixels.
pub(crate) fn side(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|pixels| usize::try_from(pixels).ok()).filter(|pixels| *pixels > 0)
}

impl AsTyped {
    /// Refuses an image processor outside `known`. Variants (`Fast`, `Pil`) differ in the library that computes, not in
    /// the result.
    pub fn check_type(&self, known: &[&str]) -> Result<()> {
        let Some(kind) = &self.image_processor_type else { return Ok(()) };
        let plain = kind.strip_suffix("Fast").or(kind.strip_suffix("Pil")).unwrap_or(kind);
        if !known.contains(&plain) {
            let problem = format!("`{kind}` is not supported here, only {known:?}");
            return Err(ModelError::config("image_processor_type", problem));
        }
        Ok(())
    }

    /// The resize filter; bicubic if none is typed.
    pub fn filter(&self) -> Result<Filter> {
        let number = self.resample.unwrap_or(3);
        Filter::from_number(number)
            .ok_or_else(|| ModelError::config("resample", format!("filter {number} is not supported")))
    }

    pub fn scale(&self) -> Scale {
        Scale {
            rescale: wanted(self.do_rescale).then(|| self.rescale_factor.unwrap_or(1.0 / 255.0)),
            normalize: wanted(self.do_normalize).then(|| Normalize {
                mean: self.image_mean.unwrap_or(CLIP_NORMALIZE.mean),
                std: self.image_std.unwrap_or(CLIP_NORMALIZE.std),
            }),
        }
    }
}

impl Scale {
    /// Rescaled and normalised value of every byte, with numpy's roundings: the factor in f64, the rest in f32.
    pub fn table(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|byte| {
            let value = self.rescale.map_or(byte as f32, |factor| (byte as f64 * factor) as f32);
            self.normalize.map_or(value, |normal| (value - normal.mean[channel]) / normal.std[channel])
        })
    }
}
