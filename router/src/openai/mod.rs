//! OpenAI's API as data: requests, read leniently and validated strictly, and replies. No I/O here.

mod body;
pub mod chat;
pub mod completion;
pub mod error_body;
pub mod extension;
mod fields;
pub mod generation;
mod image_url;
mod json;
mod logit_bias;
pub mod logprobs;
mod max_tokens;
mod messages;
pub mod receipt;
pub mod response;
mod sampling;
mod stop;
pub mod stream;
mod structured;
mod template_kwargs;
mod text_logprobs;
pub mod tokenize;
mod tools;
mod unsupported;
pub mod urgency;

pub use body::Body;
pub use chat::ChatJob;
pub use extension::VisualChoice;
pub use generation::{Generation, Limits, MaxTokens, StreamOptions};
pub use json::Json;
pub use messages::{Field, Form, Message, Part, Picture};
pub use sampling::SamplingChoice;
pub use stop::StopConditions;
pub use structured::Structured;
