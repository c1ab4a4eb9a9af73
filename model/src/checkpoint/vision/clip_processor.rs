//! CLIP's image processor, validated.

use serde_json::Value;

use crate::checkpoint::vision::clip::{ClipConfig, pinpoints};
use crate::checkpoint::vision::processor::{AsTyped, side, wanted};
use crate::checkpoint::vision::steps::{ClipProcessor, Resize, Target};
use crate::error::{ModelError, Result};

const CLIP_SIDE: usize = 224;

impl ClipProcessor {
    /// Checks what was typed, and that its result has the size that the tower takes.
    pub fn validate(typed: &AsTyped, tower: &ClipConfig) -> Result<ClipProcessor> {
        match &tower.pinpoints {
            Some(expected) => tiles(typed, tower.image_size, expected),
            None => whole(typed, tower.image_size),
        }
    }

    /// Checks that every picture comes out as `seen` x `seen`, since the tower has positions for nothing else.
    fn check_result(&self, seen: usize) -> Result<()> {
        let (field, made) = match (self.center_crop, self.resize.map(|resize| resize.target)) {
            (Some(size), _) => ("crop_size", size),
            (None, Some(Target::Exact { height, width })) => ("size", (height, width)),
            (None, _) => return Err(ModelError::config("do_center_crop", "pictures would come out in any shape")),
        };
        check_side(field, made, seen)
    }
}

/// The processor of a LLaVA: one view of the picture.
fn whole(typed: &AsTyped, seen: usize) -> Result<ClipProcessor> {
    typed.check_type(&["CLIPImageProcessor", "LlavaImageProcessor"])?;
    if typed.do_pad == Some(true) {
        return Err(ModelError::config("do_pad", "padding to a square is not supported"));
    }
    let resize = || -> Result<Resize> { Ok(Resize { target: target(typed)?, filter: typed.filter()? }) };
    let processor = ClipProcessor {
        resize: wanted(typed.do_resize).then(resize).transpose()?,
        center_crop: wanted(typed.do_center_crop).then(|| crop(typed)).transpose()?,
        scale: typed.scale(),
    };
    processor.check_result(seen)?;
    Ok(processor)
}

/// The processor of a LLaVA-NeXT: the picture squeezed into a square, and also cut into tiles. With all sizes equal to
/// the tower's, which is required here, the processor's further steps change nothing.
fn tiles(typed: &AsTyped, seen: usize, expected: &[(usize, usize)]) -> Result<ClipProcessor> {
    typed.check_type(&["LlavaNextImageProcessor"])?;
    if pinpoints(typed.image_grid_pinpoints.as_ref(), seen)? != expected {
        let problem = "the image processor's is not the model's";
        return Err(ModelError::config("image_grid_pinpoints", problem));
    }
    let made = match target(typed)? {
        Target::ShortestEdge(edge) => (edge, edge),
        Target::Exact { height, width } => (height, width),
    };
    check_side("size", made, seen)?;
    check_side("crop_size", crop(typed)?, seen)?;
    let target = Target::Exact { height: seen, width: seen };
    Ok(ClipProcessor {
        resize: Some(Resize { target, filter: typed.filter()? }),
        center_crop: None,
        scale: typed.scale(),
    })
}

fn check_side(field: &str, made: (usize, usize), seen: usize) -> Result<()> {
    if made != (seen, seen) {
        let problem = format!("{} x {} pixels, but the vision tower takes {seen} x {seen}", made.0, made.1);
        return Err(ModelError::config(field, problem));
    }
    Ok(())
}

fn target(typed: &AsTyped) -> Result<Target> {
    let Some(size) = &typed.size else { return Ok(Target::ShortestEdge(CLIP_SIDE)) };
    let number = |key: &str| side(&size[key]);
    if size.get("longest_edge").is_some_and(|edge| !edge.is_null()) {
        return Err(ModelError::config("size.longest_edge", "is not supported"));
    }
    // Files from before 2022 have a bare number.
    match (side(size), number("shortest_edge"), number("height"), number("width")) {
        (Some(edge), ..) | (None, Some(edge), ..) => Ok(Target::ShortestEdge(edge)),
        (None, None, Some(height), Some(width)) => Ok(Target::Exact { height, width }),
        _ => Err(ModelError::config("size", format!("`{size}` names neither a shortest edge nor height and width"))),
    }
}

fn crop(typed: &AsTyped) -> Result<(usize, usize)> {
    let Some(size) = &typed.crop_size else { return Ok((CLIP_SIDE, CLIP_SIDE)) };
    let named = |size: &Value| Some((side(&size["height"])?, side(&size["width"])?));
    match (side(size), named(size)) {
        (Some(edge), _) => Ok((edge, edge)),
        (None, Some(size)) => Ok(size),
        _ => Err(ModelError::config("crop_size", format!("`{size}` does not name height and width"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::vision::processor::{CLIP_NORMALIZE, Scale};
    use crate::vision::Filter;

    fn validate(json: &str, seen: usize) -> Result<ClipProcessor> {
        whole(&serde_json::from_str(json).unwrap(), seen)
    }

    fn refused_field(found: Result<ClipProcessor>) -> String {
        match found {
            Err(ModelError::Config { field, .. }) => field,
            other => panic!("expected a refusal, got {other:?}"),
        }
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
        assert_eq!(processor.scale, Scale { rescale: Some(1.0 / 255.0), normalize: Some(CLIP_NORMALIZE) });
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
            (r#"{"image_processor_type": "LlavaNextImageProcessor"}"#, "image_processor_type"),
        ];
        for (json, expected) in cases {
            assert_eq!(refused_field(validate(json, 96)), expected, "{json}");
        }
    }

    #[test]
    fn the_file_of_llava_1_6() {
        let json = r#"{"aspect_ratio_setting": "anyres", "crop_size": {"height": 336, "width": 336},
            "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true, "do_rescale": true,
            "do_resize": true, "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_processor_type": "LlavaNextImageProcessor",
            "image_std": [0.26862954, 0.26130258, 0.27577711], "processor_class": "LlavaNextProcessor",
            "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}}"#;
        let expected = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)];
        let typed: AsTyped = serde_json::from_str(json).unwrap();
        let processor = tiles(&typed, 336, &expected).unwrap();
        let target = Target::Exact { height: 336, width: 336 };
        assert_eq!(processor.resize, Some(Resize { target, filter: Filter::Bicubic }));
        assert_eq!(refused_field(tiles(&typed, 336, &expected[1..])), "image_grid_pinpoints");
        let other_sizes = AsTyped { size: None, ..typed };
        assert_eq!(refused_field(tiles(&other_sizes, 336, &expected)), "size");
    }
}
