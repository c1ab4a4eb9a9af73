//! Shared test helpers: the tiny checkpoint, and tensors that transformers computed with it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use secateur_model::{
    BlockTable, Feed, Input, KvPool, LoadOptions, Model, ModelError, Picture, PictureLimits, Segment, VisualTokens,
    Wanted, Workspace,
};

use crate::expected::Expected;

/// The placeholder of a visual token in the fixture's prompts.
pub const IMAGE_TOKEN: u32 = 90;

/// The folder of the tiny checkpoint and, in `expected.safetensors`, of the reference's results.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny-llava")
}

pub fn load() -> Model {
    Model::load(&folder(), &LoadOptions { vision: true, ..LoadOptions::default() }).unwrap()
}

pub fn picture(name: &str) -> Picture {
    let bytes = std::fs::read(folder().join(format!("pictures/{name}.png"))).unwrap();
    Picture::decode(&bytes, &PictureLimits::default()).unwrap()
}

/// The reference's results for the tiny checkpoint.
pub fn expected() -> Expected {
    Expected::open(&folder().join("expected.safetensors"))
}

/// The largest difference of two rows of numbers.
pub fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.unwrap().0 as u32
}

/// A prompt of token ids, with visual tokens in the place of the placeholders.
pub fn segments<'a>(prompt: &'a [u32], visual: &VisualTokens) -> Vec<Segment<'a>> {
    let start = prompt.iter().position(|token| *token == IMAGE_TOKEN).unwrap();
    let rest = &prompt[start + visual.len()..];
    assert!(!rest.contains(&IMAGE_TOKEN));
    vec![Segment::Text(&prompt[..start]), Segment::Visual(visual.clone()), Segment::Text(rest)]
}

/// KV of one block, as sent over the wire.
pub struct LayerKv {
    pub layer: usize,
    pub tokens: usize,
    pub k: Bytes,
    pub v: Bytes,
}

/// A sequence with private KV memory.
pub struct Sequence {
    pool: KvPool,
    table: BlockTable,
    position: u32,
}

fn sequence(model: &Model, positions: usize) -> Sequence {
    let pool = model.kv_pool(16 << 20).unwrap();
    let mut table = BlockTable::new(&pool);
    table.grow(pool.lease(table.missing(positions)).unwrap());
    Sequence { pool, table, position: 0 }
}

/// Runs one feed and returns its wanted logits.
pub fn run(model: &Model, sequence: &mut Sequence, input: Input<'_>, wanted: Wanted) -> Result<Vec<f32>, ModelError> {
    let mut space = Workspace::default();
    let mut feeds = [Feed { input, table: &mut sequence.table, wanted }];
    model.forward(&sequence.pool, &mut feeds, &mut space, &mut |_| {})?;
    Ok(space.logits().to_vec())
}

/// Prefills a prompt and returns the logits and the KV that a prefill node would ship.
pub fn prefill(model: &Model, input: &[Segment<'_>]) -> (Vec<f32>, Vec<LayerKv>) {
    prefill_in_chunks(model, input, usize::MAX)
}

/// Prefills a prompt `rows` rows at a time, and returns the logits and the KV that a prefill node would ship.
pub fn prefill_in_chunks(model: &Model, input: &[Segment<'_>], rows: usize) -> (Vec<f32>, Vec<LayerKv>) {
    let prompt = model.prompt(input).unwrap();
    let mut sequence = sequence(model, prompt.len());
    let mut logits = Vec::new();
    while sequence.table.len() < prompt.len() {
        let start = sequence.table.len();
        let end = start.saturating_add(rows).min(prompt.len());
        let wanted = if end == prompt.len() { Wanted::Last } else { Wanted::Nothing };
        logits = run(model, &mut sequence, Input::Prompt(&prompt, start..end), wanted).unwrap();
    }
    let view = sequence.table.view(prompt.len());
    let layer = |(slot, &layer): (usize, &usize)| {
        // SAFETY: no pass runs now.
        let (k, v) = unsafe { view.layer(slot) };
        LayerKv { layer, tokens: prompt.len(), k: k.into(), v: v.into() }
    };
    (logits, model.kv_layers().iter().enumerate().map(layer).collect())
}

/// A sequence filled with the shipped KV of a text prompt, and room for `more` tokens.
pub fn receive(model: &Model, shipped: &[LayerKv], more: usize) -> Sequence {
    let tokens = shipped[0].tokens;
    let mut sequence = sequence(model, tokens + more);
    for kv in shipped {
        let slot = model.kv_layers().binary_search(&kv.layer).unwrap();
        sequence.table.write_layer(slot, 0, &kv.k, &kv.v).unwrap();
    }
    sequence.table.set_len(tokens).unwrap();
    sequence.position = tokens as u32;
    sequence
}

/// A sequence of `tokens` positions, of which its one layer with KV lacks `lacking`.
pub fn receive_lacking(model: &Model, k: &[u8], v: &[u8], tokens: usize, lacking: usize) -> Sequence {
    let mut sequence = receive_at(model, k, v, tokens, tokens as u32);
    sequence.table.set_lacking(0, lacking).unwrap();
    sequence
}

/// A sequence of `tokens` positions whose next token stands at `position`; its one layer starts with these keys and
/// values.
pub fn receive_at(model: &Model, k: &[u8], v: &[u8], tokens: usize, position: u32) -> Sequence {
    let mut sequence = sequence(model, tokens + 8);
    sequence.table.write_layer(0, 0, k, v).unwrap();
    sequence.table.set_len(tokens).unwrap();
    sequence.position = position;
    sequence
}

/// Feeds one token and returns its logits.
pub fn step(model: &Model, sequence: &mut Sequence, token: u32) -> Vec<f32> {
    let input = Input::Token { id: token, position: sequence.position };
    sequence.position += 1;
    run(model, sequence, input, Wanted::Last).unwrap()
}

/// Feeds one token of each sequence, all in one pass; the tables belong to one pool.
pub fn step_together(model: &Model, pool: &KvPool, rows: &mut [(u32, u32, &mut BlockTable)]) -> Vec<Vec<f32>> {
    let mut space = Workspace::default();
    let mut feeds: Vec<Feed<'_>> = rows
        .iter_mut()
        .map(|(id, position, table)| Feed {
            input: Input::Token { id: *id, position: *position },
            table,
            wanted: Wanted::Last,
        })
        .collect();
    model.forward(pool, &mut feeds, &mut space, &mut |_| {}).unwrap();
    space.logits().chunks_exact(model.info().vocab).map(<[f32]>::to_vec).collect()
}
