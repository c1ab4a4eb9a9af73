//! A checkpoint, a folder in the Hugging Face layout or a GGUF file: its configuration and its weights.

mod as_typed;
mod config;
mod digest;
mod digest_cache;
mod family;
mod files;
mod fingerprint;
mod generation;
mod gguf;
#[cfg(test)]
mod hub;
mod inventory;
pub(crate) mod json;
mod language;
mod names;
mod open_file;
mod rope;
mod stored;
mod vision;
mod weight_memory;
mod weights;
mod windows;

pub(crate) use config::{Config, config_bytes};
pub use fingerprint::fingerprint;
pub(crate) use inventory::check_tensors;
pub(crate) use language::LanguageConfig;
pub(crate) use open_file::OpenFile;
pub(crate) use rope::RopeConfig;
#[cfg(test)]
pub(crate) use rope::RopeScaling;
pub(crate) use vision::{
    ClipConfig, ClipProcessor, FeatureSelect, QwenConfig, QwenProcessor, RATIO_MAX, Resize, Scale, Target, TowerConfig,
    VisionConfig,
};
pub use weight_memory::WeightMemory;
pub(crate) use weights::Weights;
