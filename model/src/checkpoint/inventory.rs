//! Compares the tensors in a checkpoint's files with its configuration.
//!
//! A tensor that the configured model has no place for belonged to the trained model: a bias that a flag denies, a
//! block beyond the last one, an adapter that was not merged, another head. Ignoring it would change the answers, so it
//! is refused by name. (transformers warns about such tensors and ignores them.) Tensors that change no answer are
//! accepted.

use std::path::Path;

use crate::checkpoint::vision::{ClipConfig, QwenConfig, TowerConfig};
use crate::checkpoint::weights::{Listed, Weights};
use crate::checkpoint::{Config, LanguageConfig};
use crate::error::{ModelError, Result};

/// File that PEFT writes beside adapter weights; transformers applies those to the checkpoint in the same folder.
const ADAPTER_FILE: &str = "adapter_config.json";

/// Name suffixes of buffers that earlier versions of transformers stored, and that every version recomputes.
const BUFFERS: [&str; 3] = ["rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", "embeddings.position_ids"];

/// Relation of a tensor to the configured model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The model reads it, or a part of the trained model that is not run here would.
    Used,
    /// A bias that the configuration denies to a used matrix: harmless if it is 0.
    DeniedBias,
    /// A tensor of a block whose index reaches the number that this configuration key gives.
    BeyondBlocks(&'static str),
    /// No part of the model has this name.
    Unknown,
}

/// Refuses tensors that the configured model would ignore although they affect the answers.
pub(crate) fn check_tensors(dir: &Path, config: &Config, weights: &Weights) -> Result<()> {
    if dir.join(ADAPTER_FILE).is_file() {
        let problem = "an adapter lies beside the weights, and adapters are not applied; merge it into them";
        return Err(ModelError::config(ADAPTER_FILE, problem));
    }
    let mut refused: Vec<(&str, String)> =
        weights.tensors().filter_map(|tensor| Some((tensor.stored, problem(config, weights, tensor)?))).collect();
    refused.sort_unstable();
    let more = refused.len().saturating_sub(1);
    let Some((name, mut problem)) = refused.into_iter().next() else { return Ok(()) };
    if more > 0 {
        problem += &format!(" (and {more} more such)");
    }
    Err(ModelError::UnusedTensor { name: name.to_owned(), problem })
}

/// The reason why a tensor is refused; `None` if it is accepted.
fn problem(config: &Config, weights: &Weights, tensor: Listed<'_>) -> Option<String> {
    if BUFFERS.iter().any(|end| tensor.stored.ends_with(end)) {
        return None;
    }
    let architecture = &config.architecture;
    let Some(name) = tensor.name else { return Some(no_place(tensor.stored, architecture)) };
    match standing(config, name) {
        Standing::Used => tensor.unreadable.map(|format| format!("stored as {format}, which is not supported")),
        Standing::DeniedBias if weights.is_zero(name) => None,
        Standing::DeniedBias => Some(format!("a bias, where {architecture} as configured has none")),
        Standing::BeyondBlocks(key) => Some(format!("of a block that `{key}` does not count")),
        Standing::Unknown => Some(no_place(tensor.stored, architecture)),
    }
}

fn no_place(stored: &str, architecture: &str) -> String {
    if stored.contains("lora_") || stored.contains(".base_layer.") {
        return "of an adapter; merge the adapter into the weights".to_owned();
    }
    format!("which {architecture} has no place for")
}

fn standing(config: &Config, name: &str) -> Standing {
    let vision = config.vision.as_ref().map(|vision| &vision.tower);
    if let Some(part) = name.strip_prefix("language.") {
        return language(&config.language, part);
    }
    match (name, vision) {
        ("lm_head.weight", _) => Standing::Used,
        ("lm_head.bias", _) => Standing::DeniedBias,
        (_, Some(TowerConfig::Clip(tower))) => clip(tower, name),
        (_, Some(TowerConfig::Qwen(tower))) => qwen(tower, name),
        (_, None) => Standing::Unknown,
    }
}

/// Standing of a tensor of the language model; `name` is the part after `language.`.
fn language(config: &LanguageConfig, name: &str) -> Standing {
    if ["embed_tokens.weight", "norm.weight"].contains(&name) {
        return Standing::Used;
    }
    let Some((block, part)) = numbered(name, "layers.") else { return Standing::Unknown };
    if block >= config.layers {
        return Standing::BeyondBlocks("num_hidden_layers");
    }
    match part {
        "input_layernorm.weight" | "post_attention_layernorm.weight" => return Standing::Used,
        "self_attn.q_norm.weight" | "self_attn.k_norm.weight" if config.qk_norm => return Standing::Used,
        _ => {}
    }
    let Some((matrix, kind)) = part.rsplit_once('.') else { return Standing::Unknown };
    let has_bias = match matrix {
        "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj" => config.qkv_bias,
        "self_attn.o_proj" => config.output_bias,
        "mlp.gate_proj" | "mlp.up_proj" | "mlp.down_proj" => config.mlp_bias,
        _ => return Standing::Unknown,
    };
    affine(kind, has_bias)
}

fn clip(tower: &ClipConfig, name: &str) -> Standing {
    match name {
        "image_newline" if tower.pinpoints.is_some() => return Standing::Used,
        // `post_layernorm` belongs to CLIP's own summary of a picture, which no visual token is made of.
        "vision.pre_layrnorm.weight"
        | "vision.pre_layrnorm.bias"
        | "vision.post_layernorm.weight"
        | "vision.post_layernorm.bias"
        | "vision.embeddings.class_embedding"
        | "vision.embeddings.patch_embedding.weight"
        | "vision.embeddings.position_embedding.weight" => return Standing::Used,
        _ => {}
    }
    if let Some(kind) = name.strip_prefix("projector.linear_1.").or_else(|| name.strip_prefix("projector.linear_2.")) {
        return affine(kind, tower.projector_bias);
    }
    let Some((block, part)) = numbered(name, "vision.encoder.layers.") else { return Standing::Unknown };
    if block >= tower.layers {
        return Standing::BeyondBlocks("vision_config.num_hidden_layers");
    }
    let parts = [
        "layer_norm1",
        "layer_norm2",
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
        "mlp.fc1",
        "mlp.fc2",
    ];
    with_bias(part, &parts)
}

fn qwen(tower: &QwenConfig, name: &str) -> Standing {
    if ["vision.patch_embed.proj.weight", "vision.merger.ln_q.weight"].contains(&name) {
        return Standing::Used;
    }
    if let Some(part) = name.strip_prefix("vision.merger.") {
        return with_bias(part, &["mlp.0", "mlp.2"]);
    }
    let Some((block, part)) = numbered(name, "vision.blocks.") else { return Standing::Unknown };
    if block >= tower.layers {
        return Standing::BeyondBlocks("vision_config.depth");
    }
    match part {
        "norm1.weight" | "norm2.weight" => Standing::Used,
        _ => with_bias(part, &["attn.qkv", "attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
    }
}

/// Standing of a tensor of an affine map.
fn affine(kind: &str, has_bias: bool) -> Standing {
    match kind {
        "weight" => Standing::Used,
        "bias" if has_bias => Standing::Used,
        "bias" => Standing::DeniedBias,
        _ => Standing::Unknown,
    }
}

/// Standing of a tensor of one of these affine maps or norms, which all have a bias.
fn with_bias(name: &str, parts: &[&str]) -> Standing {
    match name.rsplit_once('.') {
        Some((part, kind)) if parts.contains(&part) => affine(kind, true),
        _ => Standing::Unknown,
    }
}

/// Splits a name behind `prefix` into the block's number and the rest.
fn numbered<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, part) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, part))
}
