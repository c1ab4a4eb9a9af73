//! Checkpoints and computation: the only crate of Secateur that knows tensors.
//!
//! A checkpoint folder in the Hugging Face layout becomes a [`Model`]. A prefill node lets it [`Model::see`] pictures
//! and [`Model::prefill`] prompts, and gets the KV of each block as bytes; a decode node puts such bytes into a
//! [`KvCache`] and goes on with [`Model::decode_step`]. Either may leave out blocks of its own.
//!
//! What is deliberately not here: tokenizers and chat templates (the router's), choosing visual tokens (`pruning`),
//! anything about networks (`transfer`), threads. Calls compute on the caller's thread until they are done.

mod activation;
mod attend;
mod card;
mod checkpoint;
mod device;
mod error;
mod float;
mod info;
mod kv;
mod layer_kv;
mod linear;
mod llama;
mod model;
mod sampling;
mod vision;

pub use card::{CARD_FILE, Card, Sample, VisualAdvice};
pub use checkpoint::fingerprint;
pub use device::DeviceKind;
pub use error::ModelError;
pub use float::FloatType;
pub use info::{ModelInfo, VisionInfo};
pub use kv::KvCache;
pub use layer_kv::LayerKv;
pub use model::{LoadOptions, Model, Segment};
pub use sampling::{Sampler, Sampling};
pub use vision::{Picture, PictureError, PictureLimits, Rows, VisualTokens};
