//! Tests on whole checkpoints: they load and answer, have the published size, and are reproducible.

use std::{collections::BTreeMap, fs, path::Path};

use secateur_model::{FloatType, LoadOptions, Model, Segment};

use super::{SynthArguments, preset, tensors, write};

fn arguments(name: &str, out: &Path, dtype: FloatType, seed: u64) -> SynthArguments {
    SynthArguments { preset: name.to_owned(), dtype, out: out.to_owned(), seed, force: false, json: false }
}

fn tiny(dtype: FloatType, seed: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let preset = preset::named("tiny-llama").unwrap();
    write(&preset, &arguments("tiny-llama", dir.path(), dtype, seed)).unwrap();
    dir
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[test]
fn a_tiny_one_loads_and_answers() {
    for dtype in [FloatType::Bf16, FloatType::F16, FloatType::F32] {
        let dir = tiny(dtype, 0);
        let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
        let model = Model::load(dir.path(), &options).unwrap();
        let prompt = [1, 3, 77, 105, 4];
        let answer = model.greedy(&[Segment::Text(&prompt)], 8).unwrap();
        assert!(answer.len() == 8 && answer.iter().all(|token| *token < 1024), "{answer:?}");
        let logits = model.logits(&[Segment::Text(&prompt)]).unwrap();
        assert!(logits.iter().all(|logit| logit.abs() < 50.0));
        // The output is not constant: the last position's logits differ among themselves.
        let last = &logits[4 * 1024..];
        assert!(last.iter().any(|logit| (logit - last[0]).abs() > 0.1));
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let first = contents(tiny(FloatType::Bf16, 5).path());
    assert_eq!(first, contents(tiny(FloatType::Bf16, 5).path()));
    let other = contents(tiny(FloatType::Bf16, 6).path());
    assert_ne!(first["model.safetensors"], other["model.safetensors"]);
    assert_eq!(first["tokenizer.json"], other["tokenizer.json"]);
}

#[test]
fn sizes_are_the_published_ones() {
    let published = [
        ("llama-3.2-1b", 1.236e9),
        ("llama-3.2-3b", 3.213e9),
        ("llama-3.1-8b", 8.03e9),
        ("mistral-7b-v0.3", 7.248e9),
        ("qwen2.5-0.5b", 0.494e9),
        ("qwen2.5-1.5b", 1.544e9),
        ("qwen2.5-7b", 7.616e9),
        ("qwen3-0.6b", 0.596e9),
        ("qwen3-4b", 4.022e9),
        ("llava-1.5-7b", 7.063e9),
        ("llava-1.5-13b", 13.35e9),
        ("llava-next-7b", 7.567e9),
        ("qwen2.5-vl-3b", 3.755e9),
    ];
    for (name, expected) in published {
        let tensors = tensors::of(&preset::named(name).unwrap().config).unwrap();
        let found: u64 = tensors.iter().map(tensors::Tensor::len).sum();
        assert!((found as f64 / expected - 1.0).abs() < 0.01, "{name}: {found}");
    }
}

/// Each preset's structure with small dimensions: every tensor that the loader needs exists.
#[test]
fn every_structure_loads() {
    for name in ["mistral-7b-v0.3", "qwen2.5-0.5b", "qwen3-0.6b", "llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-3b"] {
        let dir = tempfile::tempdir().unwrap();
        let mut preset = preset::named(name).unwrap();
        shrink(&mut preset.config);
        write(&preset, &arguments(name, dir.path(), FloatType::Bf16, 0)).unwrap();
        let options = LoadOptions { vision: true, threads: Some(1), ..LoadOptions::default() };
        let model = Model::load(dir.path(), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = model.greedy(&[Segment::Text(&[1, 2, 3])], 2).unwrap();
        assert_eq!(answer.len(), 2, "{name}");
        if model.info().vision.is_some() {
            let rows = model.see(&[picture()]).unwrap();
            assert!(!rows[0].is_empty(), "{name}");
        }
    }
}

fn shrink(config: &mut serde_json::Value) {
    let text = if config["text_config"].is_object() { &mut config["text_config"] } else { &mut *config };
    text["num_hidden_layers"] = 1.into();
    text["intermediate_size"] = 256.into();
    if let Some(vision) = config["vision_config"].as_object_mut() {
        for key in ["num_hidden_layers", "depth"] {
            vision.entry(key).and_modify(|layers| *layers = 2.into());
        }
    }
}

fn picture() -> secateur_model::Picture {
    let pixels = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 4, y as u8 * 5, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    secateur_model::Picture::decode(&bytes.into_inner(), &secateur_model::PictureLimits::default()).unwrap()
}

#[test]
fn every_text_becomes_tokens_and_every_token_text() {
    for name in ["tiny-llama", "llama-3.2-1b", "qwen2.5-vl-3b", "llava-1.5-7b"] {
        let preset = preset::named(name).unwrap();
        let text =
            if preset.config["text_config"].is_object() { &preset.config["text_config"] } else { &preset.config };
        let vocab = text["vocab_size"].as_u64().unwrap() as u32;
        let json = super::tokenizer::tokenizer(preset.dialect, vocab).to_string();
        let tokenizer = tokenizers::Tokenizer::from_bytes(json).unwrap();
        let words = "Héllo\n\t 你好 👩 \u{0}";
        let tokens = tokenizer.encode(words, false).unwrap().get_ids().to_vec();
        assert_eq!(tokens.len(), words.len(), "{name}");
        assert_eq!(tokenizer.decode(&tokens, true).unwrap(), words);
        assert_eq!(tokenizer.get_vocab_size(true), vocab as usize);
        for (id, text) in preset.dialect.special {
            assert_eq!(tokenizer.encode(*text, false).unwrap().get_ids(), [*id]);
        }
        let special: Vec<u32> = preset.dialect.special.iter().map(|(id, _)| *id).collect();
        let silent =
            (0..vocab).filter(|id| !special.contains(id) && tokenizer.decode(&[*id], true).unwrap().is_empty());
        assert_eq!(silent.count(), 0, "{name}");
        let begins = tokenizer.encode("a", true).unwrap().get_ids().len();
        assert_eq!(begins, if preset.dialect.bos.is_some() { 2 } else { 1 });
        let image = ["image_token_index", "image_token_id"].into_iter().find_map(|key| preset.config[key].as_u64());
        assert!(image.is_none_or(|id| special.contains(&(id as u32))), "{name}");
    }
}
