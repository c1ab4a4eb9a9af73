//! The model as the router knows it: tokenizer, chat template, end tokens and defaults. No weights are read here.

mod chat_template;
mod defaults;
mod documents;
mod error;
mod files;
mod generation_config;
#[cfg(test)]
mod gguf_tests;
mod load;
mod model;
mod tokens;

pub use defaults::{GenerationDefaults, penalizes_repetition};
pub use error::LoadError;
pub use load::load;
pub use model::{ImageToken, ServedModel, SpecialTokens};
