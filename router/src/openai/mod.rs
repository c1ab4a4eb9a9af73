//! OpenAI's API as data: requests, read leniently and validated strictly, and replies. No I/O here.

pub mod chat;
pub mod completion;
pub mod detokenize;
pub mod error_body;
pub mod extension;
pub mod fields;
pub mod generation;
mod image_url;
mod logit_bias;
pub mod logprobs;
mod max_tokens;
mod messages;
mod picture;
pub mod reply;
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
