//! A checkpoint folder in the Hugging Face layout: what its JSON says, and its weights.

mod as_typed;
mod config;
mod fingerprint;
mod generation;
pub(crate) mod json;
mod language;
mod names;
mod vision;
mod weights;

pub(crate) use config::Config;
pub use fingerprint::fingerprint;
pub(crate) use language::LanguageConfig;
pub(crate) use vision::{FeatureSelect, VisionConfig};
pub(crate) use weights::Weights;
