//! The tiny checkpoint gives transformers' results (`tests/fixtures/tiny-llava/make.py`).

use crate::common::{argmax, distance, expected, load, picture, prefill, receive, segments, step};

#[test]
fn the_checkpoint_is_described() {
    let model = load();
    let info = model.info();
    assert_eq!((info.layers, info.hidden, info.heads, info.kv_heads, info.head_dim), (3, 64, 4, 2, 16));
    assert_eq!((info.vocab, info.max_positions), (96, 256));
    assert_eq!(info.eos_token_ids, [2, 3]);
    let vision = info.vision.as_ref().unwrap();
    assert_eq!((vision.image_token_id, vision.tokens_per_image, vision.image_size), (90, 16, Some(32)));
}

#[test]
fn pixels_of_odd_pictures_equal_pillows() {
    let (model, expected) = (load(), expected());
    let names = expected.names("pixels.");
    assert_eq!(names.len(), 13);
    for name in names {
        let found = model.pixel_values(&picture(&name)).unwrap();
        let off = distance(&found, &expected.floats(&format!("pixels.{name}")));
        // One step of an 8-bit value is 0.014 here, so this asserts that every byte is the same.
        assert!(off < 1e-5, "{name}: {off}");
    }
}

#[test]
fn visual_tokens_are_the_references() {
    let (model, expected) = (load(), expected());
    for name in expected.names("visual.") {
        let visual = model.see(&[picture(&name)]).unwrap().remove(0);
        let off = distance(&visual.rows().data, &expected.floats(&format!("visual.{name}")));
        assert!(off < 1e-4, "{name}: {off}");
    }
}

#[test]
fn logits_at_every_position_are_the_references() {
    let (model, expected) = (load(), expected());
    let prompt = expected.tokens("prompt");
    let visual = model.see(&[picture("waves")]).unwrap().remove(0);
    let found = model.logits(&segments(&prompt, &visual)).unwrap();
    let off = distance(&found, &expected.floats("logits"));
    assert!(off < 1e-3, "{off}");
}

#[test]
fn greedy_decoding_from_shipped_kv_is_the_references() {
    let (model, expected) = (load(), expected());
    let prompt = expected.tokens("prompt");
    let visual = model.see(&[picture("waves")]).unwrap().remove(0);
    let (mut logits, shipped) = prefill(&model, &segments(&prompt, &visual));
    let mut cache = receive(&model, &shipped, 32);
    let mut tokens = Vec::new();
    for _ in 0..32 {
        tokens.push(argmax(&logits));
        logits = step(&model, &mut cache, *tokens.last().unwrap());
    }
    assert_eq!(tokens, expected.tokens("greedy"));
}
