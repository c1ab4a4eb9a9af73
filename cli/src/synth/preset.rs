//! The available shapes, each with its published `config.json`.

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use super::dialect::{self, Dialect};

/// A model shape.
pub struct Preset {
    /// The published configuration.
    pub config: Value,
    /// Special tokens and chat template.
    pub dialect: &'static Dialect,
}

macro_rules! published {
    ($($name:literal speaks $dialect:ident),+ $(,)?) => {
        &[$(($name, include_str!(concat!("presets/", $name, ".json")), &dialect::$dialect)),+]
    };
}

/// Name, `config.json` and dialect of each preset.
const PRESETS: &[(&str, &str, &Dialect)] = published![
    "llama-3.2-1b" speaks LLAMA_3,
    "llama-3.2-3b" speaks LLAMA_3,
    "llama-3.1-8b" speaks LLAMA_3,
    "mistral-7b-v0.3" speaks MISTRAL,
    "qwen2.5-0.5b" speaks CHAT_ML,
    "qwen2.5-1.5b" speaks CHAT_ML,
    "qwen2.5-7b" speaks CHAT_ML,
    "qwen3-0.6b" speaks CHAT_ML,
    "qwen3-4b" speaks CHAT_ML,
    "llava-1.5-7b" speaks LLAVA,
    "llava-1.5-13b" speaks LLAVA,
    "llava-next-7b" speaks LLAVA_NEXT,
    "qwen2.5-vl-3b" speaks QWEN_VL,
    "tiny-llama" speaks TINY,
];

/// The preset names, as a parser for the command line.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(PRESETS.iter().map(|(name, ..)| *name))
}

/// The preset with that name.
pub fn named(name: &str) -> anyhow::Result<Preset> {
    let found = PRESETS.iter().find(|(known, ..)| *known == name);
    let (_, config, dialect) = found.with_context(|| format!("there is no preset `{name}`; --help lists them"))?;
    let config = serde_json::from_str(config).with_context(|| format!("the preset `{name}` is broken"))?;
    Ok(Preset { config, dialect })
}
