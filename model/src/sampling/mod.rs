//! Choosing the next token from logits.
//!
//! ```text
//! params.rs      what a request can ask for
//! sampler.rs     one answer's sampler: bias ▸ penalties ▸ temperature ▸ min_p ▸ top_k ▸ top_p ▸ draw
//! nucleus.rs     the candidates that are left, without sorting the vocabulary
//! logprobs.rs    log probabilities of the model's own distribution
//! ```
//!
//! A draw depends on nothing but the logits, the request's parameters, the tokens so far, the seed and the token's index
//! in the answer: not on which node draws, nor on what else is in its batch, nor on whether the answer was replayed.

mod logprobs;
mod nucleus;
mod params;
mod sampler;

pub use logprobs::TokenLogprob;
pub use params::Sampling;
pub use sampler::{Drawn, Sampler};
