//! GGUF files with every tensor type give transformers' answers for the same file, dequantised
//! (`tests/fixtures/gguf/make.py`).

use std::path::{Path, PathBuf};

use secateur_model::{FloatType, LoadOptions, Model, ModelError, ModelInfo, Segment, WeightFormat};

use crate::common::distance;
use crate::expected::Expected;

/// One model for each tensor type; together they cover every architecture, tied and untied heads, biases, and both
/// kinds of position scaling.
const MODELS: [&str; 13] = [
    "llama-f32",
    "llama-f16",
    "qwen2-bf16",
    "llama-q4_0",
    "llama-q4_1",
    "qwen2-q5_0",
    "qwen3-q5_1",
    "qwen3-q8_0",
    "llama-q2_k",
    "qwen2-q3_k",
    "qwen3-q4_k",
    "llama-q5_k",
    "qwen2-q6_k",
];

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf/models")
}

fn file(name: &str) -> PathBuf {
    models().join(format!("{name}.gguf"))
}

fn expected(name: &str) -> Expected {
    Expected::open(&models().join(format!("{name}.safetensors")))
}

fn load(name: &str, dtype: Option<FloatType>, weights: WeightFormat) -> Model {
    Model::load(&file(name), &LoadOptions { dtype, weights, ..LoadOptions::default() }).unwrap()
}

#[test]
fn logits_and_answers_of_every_type_are_the_references() {
    for name in MODELS {
        let (model, expected) = (load(name, Some(FloatType::F32), WeightFormat::Native), expected(name));
        let prompt = expected.tokens("prompt");
        let off = distance(&model.logits(&[Segment::Text(&prompt)]).unwrap(), &expected.floats("logits"));
        assert!(off < 1e-3, "{name}: {off}");
        let greedy = expected.tokens("greedy");
        assert_eq!(model.greedy(&[Segment::Text(&prompt)], greedy.len()).unwrap(), greedy, "{name}");
        println!("{name}: logits off by {off:.1e}, {} greedy tokens the same", greedy.len());
    }
}

/// Coarser formats than f32 stay close to the same model: a large error means a misplaced tensor, not rounding.
#[test]
fn other_formats_are_near() {
    for name in ["llama-q4_0", "qwen3-q4_k"] {
        let expected = expected(name);
        let (prompt, logits) = (expected.tokens("prompt"), expected.floats("logits"));
        for (dtype, weights, limit) in [
            (None, WeightFormat::Native, 0.05),
            (Some(FloatType::F16), WeightFormat::Native, 0.02),
            (Some(FloatType::F32), WeightFormat::Int8, 0.1),
        ] {
            let model = load(name, dtype, weights);
            assert_eq!(model.info().dtype, dtype.unwrap_or(FloatType::Bf16));
            let found = model.logits(&[Segment::Text(&prompt)]).unwrap();
            let spread = (logits.iter().map(|logit| logit * logit).sum::<f32>() / logits.len() as f32).sqrt();
            let squares = found.iter().zip(&logits).map(|(one, other)| (one - other) * (one - other));
            let off = (squares.sum::<f32>() / logits.len() as f32).sqrt() / spread;
            assert!(off < limit, "{name} {dtype:?} {weights:?}: {off}");
        }
    }
}

#[test]
fn a_file_describes_itself() {
    let info = ModelInfo::read(&file("qwen3-q8_0"), None).unwrap();
    assert_eq!((info.architecture.as_str(), info.head_dim, info.kv_heads), ("Qwen3ForCausalLM", 24, 2));
    assert_eq!((info.max_positions, info.eos_token_ids, info.vocab), (1024, vec![2], 96));
}

#[test]
fn a_file_that_is_cut_short_is_refused_by_its_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.gguf");
    let bytes = std::fs::read(file("llama-q4_0")).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 64]).unwrap();
    let error = Model::load(&path, &LoadOptions::default()).err().unwrap();
    assert!(matches!(error, ModelError::Gguf(_)) && error.to_string().contains("cut short"), "{error}");
}
