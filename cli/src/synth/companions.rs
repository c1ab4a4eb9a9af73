//! The JSON files beside the weights.

use std::path::Path;

use anyhow::Context;
use secateur_model::FloatType;
use serde_json::{Value, json};

use super::{preset::Preset, tokenizer};

/// Names of the files, for replacing a checkpoint.
pub const NAMES: [&str; 5] =
    ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"];

/// Names and contents of the files, `config.json` last.
pub struct Companions(Vec<(&'static str, Vec<u8>)>);

/// The files of a preset with weights in `dtype`.
pub fn of(preset: &Preset, dtype: FloatType) -> anyhow::Result<Companions> {
    let (config, dialect) = (&preset.config, preset.dialect);
    let text = if config["text_config"].is_object() { &config["text_config"] } else { config };
    let vocab = text["vocab_size"].as_u64().and_then(|vocab| u32::try_from(vocab).ok());
    let vocab = vocab.context("a preset needs a vocab_size")?;
    let tokenizer_config = tokenizer::configuration(dialect, &text["max_position_embeddings"]);
    let mut files = vec![
        ("tokenizer.json", serde_json::to_vec(&tokenizer::tokenizer(dialect, vocab))?),
        ("tokenizer_config.json", serde_json::to_vec_pretty(&tokenizer_config)?),
        ("generation_config.json", serde_json::to_vec_pretty(&generation(preset))?),
    ];
    if let Some(processor) = processor(config) {
        files.push(("preprocessor_config.json", serde_json::to_vec_pretty(&processor)?));
    }
    files.push(("config.json", serde_json::to_vec_pretty(&stored_as(dtype, config.clone()))?));
    Ok(Companions(files))
}

impl Companions {
    /// Total bytes of the files.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, content)| content.len() as u64).sum()
    }

    /// Writes the files in order; returns their total bytes.
    pub fn write(&self, dir: &Path) -> anyhow::Result<u64> {
        for (name, content) in &self.0 {
            let path = dir.join(name);
            std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(self.bytes())
    }
}

fn generation(preset: &Preset) -> Value {
    let bos = preset.dialect.special.iter().find(|(_, text)| Some(*text) == preset.dialect.bos);
    let bos = bos.map_or(preset.config["bos_token_id"].clone(), |(id, _)| (*id).into());
    json!({"bos_token_id": bos, "eos_token_id": preset.dialect.end_ids})
}

/// The configuration, with the format of the weights.
fn stored_as(dtype: FloatType, mut config: Value) -> Value {
    let name = match dtype {
        FloatType::F32 => "float32",
        FloatType::Bf16 => "bfloat16",
        FloatType::F16 => "float16",
    };
    if config["text_config"].is_object() {
        config["text_config"]["torch_dtype"] = name.into();
    }
    config["torch_dtype"] = name.into();
    config
}

/// The published image processor; `None` for text-only models.
fn processor(config: &Value) -> Option<Value> {
    let side = &config["vision_config"]["image_size"];
    let clip = json!({
        "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": true, "do_resize": true,
        "size": {"shortest_edge": side}, "resample": 3, "do_center_crop": true,
        "crop_size": {"height": side, "width": side}, "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    });
    match config["model_type"].as_str() {
        Some("llava") => Some(clip),
        Some("llava_next") => Some(tiles(clip, &config["image_grid_pinpoints"])),
        Some("qwen2_5_vl") => Some(json!({
            "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12_845_056,
            "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
            "image_mean": clip["image_mean"], "image_std": clip["image_std"],
        })),
        _ => None,
    }
}

/// LLaVA-NeXT's processor is LLaVA's, applied to each tile.
fn tiles(mut clip: Value, pinpoints: &Value) -> Value {
    clip["image_processor_type"] = "LlavaNextImageProcessor".into();
    clip["image_grid_pinpoints"] = pinpoints.clone();
    clip["do_pad"] = true.into();
    clip
}
