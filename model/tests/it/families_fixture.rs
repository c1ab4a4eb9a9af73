//! The tiny checkpoints of `tests/fixtures/families`, one of each family, and what transformers computes with them.

use std::path::{Path, PathBuf};

use secateur_model::{FloatType, LoadOptions, Model, Picture, PictureLimits, Segment, VisualTokens};

use crate::expected::Expected;

pub const TEXT: [&str; 6] = ["llama2", "llama3", "llama-linear", "mistral", "qwen2", "qwen3"];
pub const VISION: [&str; 3] = ["llava", "llava-next", "qwen2.5-vl"];

/// The placeholder token of one picture, the same in all families.
pub const IMAGE: u32 = 90;

pub struct Family {
    pub folder: PathBuf,
    pub expected: Expected,
}

impl Family {
    pub fn open(name: &str) -> Family {
        let folder = families().join(name);
        let expected = Expected::open(&folder.join("expected.safetensors"));
        Family { folder, expected }
    }

    pub fn load(&self) -> Model {
        // Weights are stored in several formats; the reference computes in f32.
        let options = LoadOptions { vision: true, dtype: Some(FloatType::F32), ..LoadOptions::default() };
        Model::load(&self.folder, &options).unwrap()
    }

    /// The `count` pictures of the prompt that has that many.
    pub fn pictures(&self, count: usize) -> Vec<Picture> {
        self.expected.note(&format!("pictures.{count}")).split(' ').map(picture).collect()
    }
}

pub fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families")
}

pub fn picture(name: &str) -> Picture {
    let folder = families().join("pictures");
    let bytes = std::fs::read(folder.join(format!("{name}.png")))
        .or_else(|_| std::fs::read(folder.join(format!("{name}.jpg"))));
    Picture::decode(&bytes.unwrap(), &PictureLimits::default()).unwrap()
}

/// A prompt with one placeholder for each picture.
pub fn segments<'a>(prompt: &'a [u32], visual: &[VisualTokens]) -> Vec<Segment<'a>> {
    let mut rest = visual.iter();
    let mut segments = Vec::new();
    for (index, text) in prompt.split(|token| *token == IMAGE).enumerate() {
        if index > 0 {
            segments.push(Segment::Visual(rest.next().unwrap().clone()));
        }
        segments.push(Segment::Text(text));
    }
    assert!(rest.next().is_none());
    segments
}
