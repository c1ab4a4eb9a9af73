//! The demo checkpoint gives the same intermediate results as transformers (`tests/fixtures/demo/make_numerics.py`, to
//! be run again whenever the checkpoint changes).

use std::path::{Path, PathBuf};

use secateur_model::{FloatType, LoadOptions, Model, Picture, PictureLimits, Segment, VisualTokens};
use serde_json::Value;

use crate::common::{LayerKv, distance, prefill};
use crate::expected::Expected;

/// Values are of the order of 1 to 10, and sums of some hundred terms are computed in a different order here.
const TOLERANCE: f32 = 1e-3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn load() -> Model {
    // The checkpoint is stored in f16; the reference computes in f32.
    let options = LoadOptions { vision: true, dtype: Some(FloatType::F32), ..LoadOptions::default() };
    Model::load(&root().join("models/demo"), &options).unwrap()
}

fn expected() -> Expected {
    Expected::open(&root().join("tests/fixtures/demo/numerics.safetensors"))
}

/// The pictures of the suite's case `id`.
fn pictures(id: &str) -> Vec<Picture> {
    let suite = root().join("models/demo/eval");
    let lines = std::fs::read_to_string(suite.join("suite.jsonl")).unwrap();
    let mut cases = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let case = cases.find(|case| case["id"] == id).unwrap();
    let files = case["images"].as_array().unwrap().iter().map(|file| suite.join(file.as_str().unwrap()));
    files.map(|file| Picture::decode(&std::fs::read(file).unwrap(), &PictureLimits::default()).unwrap()).collect()
}

/// Segments of a prompt in which one placeholder stands for each picture.
fn segments<'a>(ids: &'a [u32], placeholder: u32, visual: &[VisualTokens]) -> Vec<Segment<'a>> {
    let mut visual = visual.iter().cloned();
    let mut segments = Vec::new();
    for (at, text) in ids.split(|id| *id == placeholder).enumerate() {
        if at > 0 {
            segments.push(Segment::Visual(visual.next().unwrap()));
        }
        segments.push(Segment::Text(text));
    }
    assert!(visual.next().is_none());
    segments
}

/// Converts shipped KV, [tokens, heads, width], to [heads, tokens, width].
fn head_major(bytes: &[u8], tokens: usize, width: usize) -> Vec<f32> {
    let values: Vec<f32> = bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let heads = values.len() / tokens / width;
    let row = |head: usize, token: usize| &values[(token * heads + head) * width..][..width];
    (0..heads).flat_map(|head| (0..tokens).flat_map(move |token| row(head, token))).copied().collect()
}

fn check_kv(expected: &Expected, case: &str, shipped: &[LayerKv], width: usize) {
    for layer in [0, 5, 11] {
        let kv = &shipped[layer];
        for (part, bytes) in [("k", &kv.k), ("v", &kv.v)] {
            let off =
                distance(&head_major(bytes, kv.tokens, width), &expected.floats(&format!("{case}.{part}{layer}")));
            assert!(off < TOLERANCE, "{case} {part}{layer}: {off}");
        }
    }
}

fn check(case: &str) {
    let (model, expected) = (load(), expected());
    let pictures = pictures(&expected.note(case));
    if let Some(first) = pictures.first() {
        let off = distance(&model.pixel_values(first).unwrap(), &expected.floats(&format!("{case}.pixel_values")));
        assert!(off < 1e-5, "{case} pixels: {off}");
    }
    let visual = model.see(&pictures).unwrap();
    if !visual.is_empty() {
        let rows: Vec<f32> = visual.iter().flat_map(|visual| visual.rows().data).collect();
        let off = distance(&rows, &expected.floats(&format!("{case}.projected")));
        assert!(off < TOLERANCE, "{case} visual tokens: {off}");
    }
    let ids = expected.tokens(&format!("{case}.input_ids"));
    let placeholder = model.info().vision.as_ref().unwrap().image_token_id;
    let (logits, shipped) = prefill(&model, &segments(&ids, placeholder, &visual));
    check_kv(&expected, case, &shipped, model.info().head_dim);
    let off = distance(&logits, &expected.floats(&format!("{case}.logits")));
    assert!(off < TOLERANCE, "{case} logits: {off}");
}

#[test]
fn one_picture() {
    check("one");
}

#[test]
fn three_pictures() {
    check("three");
}

#[test]
fn text_alone() {
    check("text");
}
