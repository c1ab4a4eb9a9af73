//! The tiny checkpoint gives what transformers gives (`tests/fixtures/tiny-llava/make.py`).

use crate::common::{Expected, argmax, distance, load, picture, prefill, receive, segments};
use secateur_model::Segment;

#[test]
fn the_checkpoint_is_described() {
    let model = load();
    let info = model.info();
    assert_eq!((info.layers, info.hidden, info.heads, info.kv_heads, info.head_dim), (3, 64, 4, 2, 16));
    assert_eq!((info.vocab, info.max_positions), (96, 256));
    assert_eq!(info.eos_token_ids, [2, 3]);
    let vision = info.vision.as_ref().unwrap();
    assert_eq!((vision.image_token_id, vision.tokens_per_image, vision.image_size), (90, 16, 32));
}

#[test]
fn pixels_of_odd_pictures_equal_pillows() {
    let (model, expected) = (load(), Expected::read());
    let names = expected.names("pixels.");
    assert_eq!(names.len(), 13);
    for name in names {
        let found = model.pixel_values(&picture(&name)).unwrap();
        let off = distance(&found, &expected.floats(&format!("pixels.{name}")));
        // One step of an 8-bit value is 0.014 here, so this says: every byte is the same.
        assert!(off < 1e-5, "{name}: {off}");
    }
}

#[test]
fn visual_tokens_are_the_references() {
    let (model, expected) = (load(), Expected::read());
    for name in expected.names("visual.") {
        let visual = model.see(&[picture(&name)]).unwrap().remove(0);
        let off = distance(&visual.rows().unwrap().data, &expected.floats(&format!("visual.{name}")));
        assert!(off < 1e-4, "{name}: {off}");
    }
}

/// Logits at every position, from a prefill of every prefix, since a prefill gives its last position's only.
#[test]
fn logits_at_every_position_are_the_references() {
    let (model, expected) = (load(), Expected::read());
    let prompt = expected.tokens("prompt");
    let visual = model.see(&[picture("waves")]).unwrap().remove(0);
    let whole = segments(&prompt, &visual);
    let logits = expected.floats("logits");
    for (at, expected) in logits.chunks_exact(model.info().vocab).enumerate() {
        let (found, shipped) = prefill(&model, &shortened(&whole, at + 1));
        let off = distance(&found, expected);
        assert!(off < 1e-3, "position {at}: {off}");
        assert_eq!(shipped.iter().map(|kv| (kv.layer, kv.tokens)).collect::<Vec<_>>(), [0, 1, 2].map(|l| (l, at + 1)));
    }
}

#[test]
fn greedy_decoding_from_shipped_kv_is_the_references() {
    let (model, expected) = (load(), Expected::read());
    let prompt = expected.tokens("prompt");
    let visual = model.see(&[picture("waves")]).unwrap().remove(0);
    let (mut logits, shipped) = prefill(&model, &segments(&prompt, &visual));
    let mut cache = receive(&model, &shipped, 32);
    let mut tokens = Vec::new();
    for _ in 0..32 {
        tokens.push(argmax(&logits));
        logits = model.decode_step(&mut cache, *tokens.last().unwrap()).unwrap();
    }
    assert_eq!(tokens, expected.tokens("greedy"));
    assert_eq!(cache.len(), prompt.len() + 32);
}

/// The first `len` tokens of a prompt.
fn shortened<'a>(whole: &[Segment<'a>], len: usize) -> Vec<Segment<'a>> {
    let mut left = len;
    let mut short = Vec::new();
    for segment in whole {
        match segment {
            Segment::Text(tokens) => {
                let taken = left.min(tokens.len());
                short.push(Segment::Text(&tokens[..taken]));
                left -= taken;
            }
            Segment::Visual(visual) => {
                let taken = left.min(visual.len());
                short.push(Segment::Visual(visual.keep(&(0..taken).collect::<Vec<_>>()).unwrap()));
                left -= taken;
            }
        }
    }
    short
}
