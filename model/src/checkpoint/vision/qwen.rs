//! Qwen2.5-VL's vision tower, validated.

use serde_json::Value;

use crate::checkpoint::as_typed::{TopLevel, Vision};
use crate::checkpoint::vision::steps::{PixelBounds, QwenProcessor};
use crate::error::{ModelError, Result};
use crate::vision::Activation;

/// Limit on the ratio of a picture's sides; the reference refuses narrower pictures too.
pub(crate) const RATIO_MAX: usize = 200;

/// The shape of the tower and of its merger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QwenConfig {
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub patch_size: usize,
    /// Times a still picture is repeated to fill a patch along the time axis.
    pub temporal_patch_size: usize,
    /// Patches along each side of one visual token.
    pub merge_size: usize,
    /// Side of a window in pixels.
    pub window_size: usize,
    /// The blocks in which a patch attends to its whole picture and not only to its window.
    pub full_attention: Vec<usize>,
    pub activation: Activation,
    pub rope_theta: f32,
    /// Width of a visual token, which is the language model's width.
    pub out: usize,
    /// The image processor's configuration; `None` if the folder has none.
    pub processor: Option<QwenProcessor>,
}

impl QwenConfig {
    /// Checks what was typed; missing keys take the defaults of transformers' `Qwen2_5_VLVisionConfig`.
    pub fn validate(typed: &TopLevel, hidden: usize) -> Result<QwenConfig> {
        let absent = Vision::default();
        let tower = typed.vision_config.as_ref().unwrap_or(&absent);
        refuse_unsupported(tower)?;
        let theta = tower.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        let activation = tower.hidden_act.as_deref().unwrap_or("silu");
        let config = QwenConfig {
            hidden: tower.hidden_size.unwrap_or(3584),
            intermediate: tower.intermediate_size.unwrap_or(3420),
            layers: tower.depth.or(tower.num_hidden_layers).unwrap_or(32),
            heads: tower.num_heads.or(tower.num_attention_heads).unwrap_or(16),
            patch_size: side(tower.patch_size.as_ref(), 14, "patch_size")?,
            temporal_patch_size: side(tower.temporal_patch_size.as_ref(), 2, "temporal_patch_size")?,
            merge_size: tower.spatial_merge_size.unwrap_or(2),
            window_size: tower.window_size.unwrap_or(112),
            full_attention: tower.fullatt_block_indexes.clone().unwrap_or(vec![7, 15, 23, 31]),
            activation: Activation::from_name(activation, "vision_config.hidden_act")?,
            rope_theta: theta.unwrap_or(10_000.0) as f32,
            out: tower.out_hidden_size.unwrap_or(3584),
            processor: None,
        };
        config.check_shape(hidden)?;
        Ok(config)
    }

    /// Pixels along each side of one visual token; both sides of a picture are multiples of it.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// Visual tokens along each side of a window.
    pub fn window(&self) -> usize {
        self.window_size / self.merge_size / self.patch_size
    }

    /// Most visual tokens that a picture can have.
    pub fn tokens_per_image(&self) -> usize {
        let bounds = self.processor.as_ref().map_or(PixelBounds::default(), |processor| processor.bounds);
        let factor = self.factor() as f64;
        let ratio = RATIO_MAX as f64;
        let (min, max) = (bounds.min as f64, bounds.max as f64);
        // Bound for a picture too narrow to be scaled down any further: its long side.
        let narrow = (max * ratio).sqrt() / factor;
        // Bound for a picture that is scaled up, with both sides rounded up.
        let up = ((min * ratio).sqrt() / factor + 1.0) * ((min / ratio).sqrt() / factor + 1.0);
        (max / (factor * factor)).max(narrow).max(up) as usize
    }

    fn check_shape(&self, hidden: usize) -> Result<()> {
        let refuse = |field: &str, problem: String| Err(ModelError::config(format!("vision_config.{field}"), problem));
        let positive = [
            ("num_heads", self.heads),
            ("patch_size", self.patch_size),
            ("temporal_patch_size", self.temporal_patch_size),
            ("spatial_merge_size", self.merge_size),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return refuse(field, "must not be 0".to_owned());
        }
        // Half of the pairs of a head rotate by the row, half by the column.
        if !self.hidden.is_multiple_of(self.heads * 4) {
            return refuse("num_heads", format!("{} heads do not fit width {}", self.heads, self.hidden));
        }
        if self.window() == 0 {
            return refuse("window_size", format!("{} pixels are less than one visual token", self.window_size));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return refuse("rope_parameters.rope_theta", "must be a positive number".to_owned());
        }
        if self.out != hidden {
            let problem = format!("{}, but the language model is {hidden} wide", self.out);
            return refuse("out_hidden_size", problem);
        }
        Ok(())
    }
}

fn refuse_unsupported(tower: &Vision) -> Result<()> {
    let refuse = |field: &str, problem: String| Err(ModelError::config(format!("vision_config.{field}"), problem));
    // Early files give the tower the same name as the whole model.
    let kind = tower.model_type.as_deref().unwrap_or("qwen2_5_vl_vision");
    if !["qwen2_5_vl", "qwen2_5_vl_vision"].contains(&kind) {
        return refuse("model_type", format!("vision tower `{kind}` is not supported, only `qwen2_5_vl`"));
    }
    for (field, channels) in [("in_channels", tower.in_channels), ("in_chans", tower.in_chans)] {
        if channels.is_some_and(|channels| channels != 3) {
            return refuse(field, "only 3 colour channels are supported".to_owned());
        }
    }
    let rope = tower.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref()).unwrap_or("axial");
    if !["axial", "default"].contains(&rope) {
        return refuse("rope_parameters.rope_type", format!("`{rope}` is not supported, only `axial`"));
    }
    Ok(())
}

fn side(typed: Option<&Value>, default: usize, field: &str) -> Result<usize> {
    match typed {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().map(|pixels| pixels as usize).ok_or_else(|| {
            let problem = format!("`{value}` is not supported, only one whole number");
            ModelError::config(format!("vision_config.{field}"), problem)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str, hidden: usize) -> Result<QwenConfig> {
        QwenConfig::validate(&serde_json::from_str(&format!(r#"{{"vision_config": {json}}}"#)).unwrap(), hidden)
    }

    #[test]
    fn no_picture_has_more_tokens_than_promised() {
        let mut config = validate("{}", 3584).unwrap();
        for (bounds, expected) in [((3136, 12_845_056), 16_384), ((3136, 784), 33), ((3136, 3136), 33)] {
            let typed = format!(r#"{{"min_pixels": {}, "max_pixels": {}}}"#, bounds.0, bounds.1);
            config.processor = Some(QwenProcessor::validate(&serde_json::from_str(&typed).unwrap(), &config).unwrap());
            assert_eq!(config.tokens_per_image(), expected);
        }
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{"model_type": "qwen2_vl"}"#, "vision_config.model_type"),
            (r#"{"in_channels": 1}"#, "vision_config.in_channels"),
            (r#"{"hidden_act": "mish"}"#, "vision_config.hidden_act"),
            (r#"{"patch_size": [14, 14]}"#, "vision_config.patch_size"),
            (r#"{"num_heads": 15}"#, "vision_config.num_heads"),
            (r#"{"window_size": 27}"#, "vision_config.window_size"),
            (r#"{"out_hidden_size": 2048}"#, "vision_config.out_hidden_size"),
            (r#"{"rope_parameters": {"rope_type": "yarn"}}"#, "vision_config.rope_parameters.rope_type"),
        ];
        for (json, expected) in cases {
            match validate(json, 3584) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
