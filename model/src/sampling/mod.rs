//! Choosing the next token from logits.
//!
//! ```text
//! params.rs   sampling parameters of a request
//! sampler.rs  one answer's sampler: bias ▸ penalties ▸ grammar ▸ temperature ▸ min_p ▸ top_k ▸ top_p ▸ draw
//! nucleus.rs  the remaining candidates, without sorting the vocabulary
//! logprobs.rs log probabilities of the model's own distribution, and scores of given tokens
//! ```
//!
//! A draw depends only on the logits, the request's parameters, the tokens so far, the seed and the token's index in
//! the answer: not on the node that draws, the other requests in its batch, or whether the answer was replayed.

mod logprobs;
mod nucleus;
mod params;
mod sampler;

pub use logprobs::{Score, TokenLogprob};
pub use params::Sampling;
pub use sampler::{Drawn, Sampler};
