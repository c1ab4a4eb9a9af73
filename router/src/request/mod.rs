//! What is asked and what it became, as plain data: the domain of a request, whatever API it came by.
//!
//! The rooms that serve requests know these types; `openai` and the other APIs translate to and from them.

mod chat;
mod embedding;
mod finish;
mod generation;
mod logprobs;
mod max_tokens;
mod message;
mod origins;
mod picture;
mod raw;
pub mod receipt;
mod sampling;
mod scores;
mod stop;
mod structured;
mod urgency;
mod usage;
mod visual;

pub use chat::{ChatJob, Opening};
pub use embedding::{EmbeddingJob, Pooling};
pub use finish::FinishReason;
pub use generation::{CHOICES_MAX, Generation, Limits, StreamOptions};
pub use logprobs::{ScoredToken, TokenEntry};
pub use max_tokens::MaxTokens;
pub use message::{Field, Form, KeyPositions, Message, Part};
pub use origins::Origins;
pub use picture::{Fetched, Picture, PictureSource, PictureUrl, SentPicture, is_known_format, not_fetched};
pub use raw::{RawPrompt, Words};
pub use receipt::Receipt;
pub use sampling::SamplingChoice;
pub use scores::{PromptScores, PromptToken, TokenScore};
pub use stop::StopConditions;
pub use structured::Structured;
pub use urgency::{Class, Urgency};
pub use usage::{PromptTokensDetails, Usage};
pub use visual::{LOW_DETAIL_KEEP, Recommended, VisualChoice};
