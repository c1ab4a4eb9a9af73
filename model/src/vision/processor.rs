//! `preprocessor_config.json`, as typed and then validated: what has to be done to a picture's pixels.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::{VisionConfig, json};
use crate::error::{ModelError, Result};
use crate::vision::resample::Filter;

/// The steps of CLIP's image processor, in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Processor {
    pub resize: Option<Resize>,
    /// Height and width.
    pub center_crop: Option<(usize, usize)>,
    /// Factor on 8-bit values.
    pub rescale: Option<f64>,
    pub normalize: Option<Normalize>,
}

/// To what size, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resize {
    pub target: Target,
    pub filter: Filter,
}

/// The size a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The shorter side gets this length, the other follows.
    ShortestEdge(usize),
    /// Both sides as said, whatever the picture's shape.
    Exact { height: usize, width: usize },
}

/// `(x - mean) / std`, for red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Normalize {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

/// Missing keys take the defaults of transformers' `CLIPImageProcessor`.
#[derive(Debug, Default, Deserialize)]
struct AsTyped {
    image_processor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Value>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Value>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_pad: Option<bool>,
}

/// transformers 5 nests it in `processor_config.json`.
#[derive(Deserialize)]
struct Nesting {
    image_processor: Option<AsTyped>,
}

const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
const CLIP_SIDE: usize = 224;

impl Processor {
    /// Reads the processor in `dir`, and checks that what it makes is what the tower takes.
    pub fn read(dir: &Path, vision: &VisionConfig) -> Result<Processor> {
        let typed = match json::read_optional(&dir.join("preprocessor_config.json"))? {
            Some(typed) => typed,
            None => {
                let nesting: Option<Nesting> = json::read_optional(&dir.join("processor_config.json"))?;
                nesting.and_then(|nesting| nesting.image_processor).ok_or_else(|| {
                    ModelError::config("preprocessor_config.json", "there is none, nor in processor_config.json")
                })?
            }
        };
        Processor::validate(&typed, vision.image_size)
    }

    fn validate(typed: &AsTyped, seen: usize) -> Result<Processor> {
        refuse_unsupported(typed)?;
        let wanted = |flag: Option<bool>| flag.unwrap_or(true);
        let processor = Processor {
            resize: wanted(typed.do_resize).then(|| resize(typed)).transpose()?,
            center_crop: wanted(typed.do_center_crop).then(|| crop(typed)).transpose()?,
            rescale: wanted(typed.do_rescale).then(|| typed.rescale_factor.unwrap_or(1.0 / 255.0)),
            normalize: wanted(typed.do_normalize).then(|| Normalize {
                mean: typed.image_mean.unwrap_or(CLIP_MEAN),
                std: typed.image_std.unwrap_or(CLIP_STD),
            }),
        };
        processor.check_result(seen)?;
        Ok(processor)
    }

    /// Every picture must come out as `seen` x `seen`, since the tower has positions for nothing else.
    fn check_result(&self, seen: usize) -> Result<()> {
        let (field, made) = match (self.center_crop, self.resize.map(|resize| resize.target)) {
            (Some(size), _) => ("crop_size", size),
            (None, Some(Target::Exact { height, width })) => ("size", (height, width)),
            (None, _) => return Err(ModelError::config("do_center_crop", "pictures would come out in any shape")),
        };
        if made != (seen, seen) {
            let problem = format!("{} x {} pixels, but the vision tower takes {seen} x {seen}", made.0, made.1);
            return Err(ModelError::config(field, problem));
        }
        Ok(())
    }
}

fn refuse_unsupported(typed: &AsTyped) -> Result<()> {
    let kind = typed.image_processor_type.as_deref().unwrap_or("CLIPImageProcessor");
    // The variants differ in which library computes, not in what.
    let known = ["CLIPImageProcessor", "CLIPImageProcessorFast", "LlavaImageProcessor", "LlavaImageProcessorFast"];
    if !known.contains(&kind) {
        let problem = format!("`{kind}` is not supported, only {known:?}");
        return Err(ModelError::config("image_processor_type", problem));
    }
    if typed.do_pad == Some(true) {
        return Err(ModelError::config("do_pad", "padding to a square is not supported"));
    }
    Ok(())
}

fn resize(typed: &AsTyped) -> Result<Resize> {
    let number = typed.resample.unwrap_or(3);
    let filter = Filter::from_number(number)
        .ok_or_else(|| ModelError::config("resample", format!("filter {number} is not supported")))?;
    let target = match &typed.size {
        None => Target::ShortestEdge(CLIP_SIDE),
        Some(size) => target(size)?,
    };
    Ok(Resize { target, filter })
}

fn target(size: &Value) -> Result<Target> {
    let number = |key: &str| side(&size[key]);
    if size.get("longest_edge").is_some_and(|edge| !edge.is_null()) {
        return Err(ModelError::config("size.longest_edge", "is not supported"));
    }
    // Files of before 2022 have a bare number.
    match (side(size), number("shortest_edge"), number("height"), number("width")) {
        (Some(edge), ..) | (None, Some(edge), ..) => Ok(Target::ShortestEdge(edge)),
        (None, None, Some(height), Some(width)) => Ok(Target::Exact { height, width }),
        _ => Err(ModelError::config("size", format!("`{size}` names neither a shortest edge nor height and width"))),
    }
}

fn crop(typed: &AsTyped) -> Result<(usize, usize)> {
    let Some(size) = &typed.crop_size else { return Ok((CLIP_SIDE, CLIP_SIDE)) };
    match (side(size), side(&size["height"]), side(&size["width"])) {
        (Some(edge), ..) => Ok((edge, edge)),
        (None, Some(height), Some(width)) => Ok((height, width)),
        _ => Err(ModelError::config("crop_size", format!("`{size}` does not name height and width"))),
    }
}

/// A length in pixels, not 0.
fn side(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|pixels| usize::try_from(pixels).ok()).filter(|pixels| *pixels > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str, seen: usize) -> Result<Processor> {
        Processor::validate(&serde_json::from_str(json).unwrap(), seen)
    }

    #[test]
    fn the_file_of_llava_1_5() {
        let json = r#"{"crop_size": {"height": 336, "width": 336}, "do_center_crop": true, "do_convert_rgb": true,
            "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "CLIPImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaProcessor", "resample": 3,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}}"#;
        let processor = validate(json, 336).unwrap();
        let resize = Resize { target: Target::ShortestEdge(336), filter: Filter::Bicubic };
        assert_eq!(processor.resize, Some(resize));
        assert_eq!(processor.center_crop, Some((336, 336)));
        assert_eq!(processor.rescale, Some(1.0 / 255.0));
        assert_eq!(processor.normalize, Some(Normalize { mean: CLIP_MEAN, std: CLIP_STD }));
    }

    #[test]
    fn nothing_typed_is_clip() {
        let processor = validate("{}", 224).unwrap();
        assert_eq!(processor.center_crop, Some((224, 224)));
    }

    #[test]
    fn what_does_not_fit_the_tower_or_is_not_implemented_is_refused_by_name() {
        let cases = [
            ("{}", "crop_size"),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"do_center_crop": false, "size": {"height": 96, "width": 90}}"#, "size"),
            (r#"{"size": {"longest_edge": 96}}"#, "size.longest_edge"),
            (r#"{"size": {}}"#, "size"),
            (r#"{"resample": 0}"#, "resample"),
            (r#"{"do_pad": true}"#, "do_pad"),
            (r#"{"image_processor_type": "SiglipImageProcessor"}"#, "image_processor_type"),
        ];
        for (json, expected) in cases {
            match validate(json, 96) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
