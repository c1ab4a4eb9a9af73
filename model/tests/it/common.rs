//! What the tests of this folder share: the tiny checkpoint, and tensors that transformers computed with it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use secateur_model::{KvCache, LayerKv, LoadOptions, Model, Picture, PictureLimits, Segment, VisualTokens};

/// The placeholder of a visual token in the fixture's prompts.
pub const IMAGE_TOKEN: u32 = 90;

/// The tiny checkpoint and, in `expected.safetensors`, what the reference makes of it.
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

/// Tensors of the reference, by name.
pub struct Expected(Vec<u8>);

impl Expected {
    pub fn read() -> Expected {
        Expected::open(&folder().join("expected.safetensors"))
    }

    pub fn open(path: &Path) -> Expected {
        Expected(std::fs::read(path).unwrap())
    }

    /// The text stored beside the tensors under that key.
    pub fn note(&self, key: &str) -> String {
        let (_, metadata) = SafeTensors::read_metadata(&self.0).unwrap();
        metadata.metadata().as_ref().unwrap()[key].clone()
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let names = tensors.names().into_iter().filter_map(|name| name.strip_prefix(prefix));
        names.map(str::to_owned).collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let bytes = tensors.tensor(name).unwrap().data().chunks_exact(4);
        bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }

    pub fn tokens(&self, name: &str) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        // Token ids are whole numbers of four or of eight bytes; the upper half of the latter is 0.
        let size = tensor.data().len() / tensor.shape()[0];
        tensor.data().chunks_exact(size).map(|bytes| u32::from_le_bytes(bytes[..4].try_into().unwrap())).collect()
    }
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

/// A prompt of token ids, with visual tokens where the run of placeholders is.
pub fn segments<'a>(prompt: &'a [u32], visual: &VisualTokens) -> Vec<Segment<'a>> {
    let start = prompt.iter().position(|token| *token == IMAGE_TOKEN).unwrap();
    let rest = &prompt[start + visual.len()..];
    assert!(!rest.contains(&IMAGE_TOKEN));
    vec![Segment::Text(&prompt[..start]), Segment::Visual(visual.clone()), Segment::Text(rest)]
}

/// Prefills and keeps what a prefill node would ship.
pub fn prefill(model: &Model, input: &[Segment<'_>]) -> (Vec<f32>, Vec<LayerKv>) {
    let mut shipped = Vec::new();
    let logits = model.prefill(input, &mut |kv| {
        shipped.push(kv);
        ControlFlow::Continue(())
    });
    (logits.unwrap(), shipped)
}

/// A cache filled with what was shipped, and room for `more` tokens.
pub fn receive(model: &Model, shipped: &[LayerKv], more: usize) -> KvCache {
    let mut cache = model.new_cache(shipped[0].tokens + more).unwrap();
    for kv in shipped {
        cache.load_layer(kv.layer, kv.tokens, &kv.k, &kv.v).unwrap();
    }
    cache
}
