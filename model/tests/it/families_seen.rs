//! Vision towers of every family give transformers' features (`tests/fixtures/families/make.py`).

use secateur_model::{LoadOptions, Model, ModelError, Picture, PictureError, Segment};

use crate::common::distance;
use crate::families_fixture::{Family, VISION, picture, segments};

#[test]
fn vision_is_described() {
    let of = |name: &str| {
        let vision = Family::open(name).load().info().vision.clone().unwrap();
        (vision.image_token_id, vision.tokens_per_image, vision.varies, vision.image_size)
    };
    assert_eq!(of("llava"), (90, 16, false, Some(32)));
    // Three tiles in a row have 4 lines of 12 columns and an end; two by two tiles have 8 lines of 8 columns and an
    // end.
    assert_eq!(of("llava-next"), (90, 16 + 72, true, Some(32)));
    // 64 tokens fit the area, but a 1 : 200 strip gets more.
    assert_eq!(of("qwen2.5-vl"), (90, 113, true, None));
}

#[test]
fn pixels_of_odd_pictures_are_the_references() {
    for name in VISION {
        let family = Family::open(name);
        let (model, stride) = (family.load(), family.expected.note("stride").parse().unwrap());
        let names = family.expected.names("pixels.");
        assert_eq!(names.len(), 12);
        for picture_name in names {
            let found = model.pixel_values(&picture(&picture_name)).unwrap();
            let shape = family.expected.tokens(&format!("pixels_shape.{picture_name}"));
            assert_eq!(found.len(), shape.iter().product::<u32>() as usize, "{name} {picture_name}");
            let sample: Vec<f32> = found.into_iter().step_by(stride).collect();
            let off = distance(&sample, &family.expected.floats(&format!("pixels.{picture_name}")));
            println!("{name} {picture_name}: pixels off by {off}");
            // One step of an 8-bit value is 0.014, so this asserts that every byte is the same.
            assert!(off < 1e-5, "{name} {picture_name}: {off}");
        }
    }
}

#[test]
fn visual_tokens_are_the_references_alone_and_together() {
    for name in VISION {
        let family = Family::open(name);
        let model = family.load();
        let names = family.expected.names("visual.");
        let pictures: Vec<Picture> = names.iter().map(|name| picture(name)).collect();
        let together = model.see(&pictures).unwrap();
        for ((picture_name, picture), together) in names.iter().zip(&pictures).zip(together) {
            let expected = family.expected.floats(&format!("visual.{picture_name}"));
            let alone = model.see(std::slice::from_ref(picture)).unwrap().remove(0);
            let off = distance(alone.data(), &expected).max(distance(together.data(), &expected));
            println!("{name} {picture_name}: {} visual tokens off by {off}", alone.len());
            assert!(off < 1e-3, "{name} {picture_name}: {off}");
            assert!(alone.len() <= model.info().vision.as_ref().unwrap().tokens_per_image);
            assert_eq!((alone.tiles(), alone.origins()), (together.tiles(), together.origins()));
        }
    }
}

#[test]
fn m_rope_positions_are_the_references() {
    let family = Family::open("qwen2.5-vl");
    let model = family.load();
    for count in [1, 3] {
        let prompt = family.expected.tokens(&format!("prompt.{count}"));
        let visual = model.see(&family.pictures(count)).unwrap();
        let mut next = 0;
        let mut positions: Vec<[u32; 3]> = Vec::new();
        for segment in segments(&prompt, &visual) {
            match segment {
                Segment::Text(text) => {
                    positions.extend((next..next + text.len() as u32).map(|at| [at; 3]));
                    next += text.len() as u32;
                }
                Segment::Visual(visual) => {
                    positions.extend(visual.offsets().unwrap().iter().map(|offset| offset.map(|by| next + by)));
                    next += visual.advance();
                }
            }
        }
        let by_axis: Vec<u32> = (0..3).flat_map(|axis| positions.iter().map(move |at| at[axis])).collect();
        assert_eq!(by_axis, family.expected.tokens(&format!("positions.{count}")));
    }
}

#[test]
fn a_tiled_picture_is_the_whole_and_then_its_tiles() {
    let model = Family::open("llava-next").load();
    let visual = model.see(&[picture("room")]).unwrap().remove(0);
    assert_eq!(visual.tiles(), [0..16, 16..visual.len()]);
    assert_eq!((visual.offsets(), visual.advance() as usize), (None, visual.len()));
    let pruned = visual.keep(&[0, 40]).unwrap();
    assert_eq!((pruned.tiles(), pruned.origins(), pruned.advance()), (visual.tiles(), &[0, 40][..], 2));
}

#[test]
fn a_picture_too_narrow_for_the_reference_is_refused() {
    let model = Family::open("qwen2.5-vl").load();
    let narrow = Picture::from_rgb(201, 1, vec![0; 603]).unwrap();
    let error = model.see(&[picture("room"), narrow]).unwrap_err();
    assert!(matches!(error, ModelError::Picture(PictureError::Ratio { limit: 200, .. })), "{error}");
    assert!(error.to_string().contains("200 times"), "{error}");
}

/// The folders hold no weights, so a refusal after reading weights would be a different error.
#[test]
fn what_is_not_implemented_is_refused_before_weights_are_read() {
    let refused = |name: &str, file: &str, from: &str, to: &str| {
        let folder = tempfile::tempdir().unwrap();
        for copied in ["config.json", "processor_config.json", "preprocessor_config.json"] {
            let Ok(json) = std::fs::read_to_string(Family::open(name).folder.join(copied)) else { continue };
            let json = if copied == file { json.replace(from, to) } else { json };
            std::fs::write(folder.path().join(copied), json).unwrap();
        }
        match Model::load(folder.path(), &LoadOptions { vision: true, ..LoadOptions::default() }).map(|_| ()) {
            Err(ModelError::Config { field, .. }) => field,
            other => panic!("{name} {from}: {other:?}"),
        }
    };
    let config = "config.json";
    assert_eq!(refused("llama3", config, "\"llama3\"", "\"yarn\""), "rope_scaling.rope_type");
    assert_eq!(refused("qwen3", config, "Qwen3ForCausalLM", "Qwen3ForTokenClassification"), "architectures");
    assert_eq!(refused("llava-next", config, "clip_vision_model", "siglip_vision_model"), "vision_config.model_type");
    assert_eq!(refused("qwen2.5-vl", config, "\"qwen2_5_vl\"", "\"qwen2_vl\""), "model_type");
    let (nested, flat) = ("processor_config.json", "preprocessor_config.json");
    assert_eq!(refused("llava", nested, "\"resample\": 3", "\"resample\": 0"), "resample");
    assert_eq!(refused("llava-next", flat, "\"shortest_edge\": 32", "\"shortest_edge\": 48"), "size");
    assert_eq!(refused("qwen2.5-vl", flat, "\"merge_size\": 2", "\"merge_size\": 1"), "merge_size");
}
