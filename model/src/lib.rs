//! Checkpoints and computation: the only crate of Secateur that knows tensors.
//!
//! A checkpoint folder in the Hugging Face layout becomes a [`Model`]. A prefill node encodes pictures with
//! [`Model::see`] and runs prompts with [`Model::forward`], in chunks, many prompts at once; their KV lies in the
//! blocks of a [`KvPool`] and is shipped as bytes through a [`KvView`]. A decode node writes such bytes into a
//! [`BlockTable`] and continues all answers together, with one [`Model::forward`] per token. Either node may leave out
//! blocks of its own.
//!
//! Deliberately not in this crate: tokenizers and chat templates (in the router), the choice of visual tokens
//! (`pruning`), networks (`transfer`), scheduling. Calls are synchronous: they return when the computation is done.

pub mod calibrate;
mod card;
mod checkpoint;
mod device;
mod error;
mod float;
mod info;
mod kv;
mod language;
mod linear;
mod model;
mod sampling;
mod score;
mod spread;
mod stage;
mod vision;
mod whole;

pub use card::{CARD_FILE, Card, Sample, TransferAdvice, VisualAdvice};
pub use checkpoint::{WeightMemory, fingerprint};
pub use device::DeviceKind;
pub use error::ModelError;
pub use float::{FloatType, WeightFormat};
pub use info::{ModelInfo, VisionInfo};
pub use kv::{BLOCK_POSITIONS, Block, BlockTable, KvPool, KvView, blocks_for};
pub use language::{Feed, Input, Prompt, PromptRow, Segment, Wanted, Workspace};
pub use model::{LoadOptions, Model};
pub use sampling::{Drawn, Sampler, Sampling, Score, TokenLogprob};
pub use secateur_kernels::Cpu;
pub use spread::LayerSpread;
pub use stage::{BlockRole, RepairFile, Stage};
pub use vision::{Picture, PictureError, PictureLimits, Rows, VisualTokens};
