//! Text to tokens and back: tokenizer, incremental detokenizer, stop texts, bytes of tokens.

mod build;
#[cfg(test)]
mod cases;
mod detokenize;
mod encode;
mod marks;
mod opening;
mod stop;
#[cfg(test)]
pub mod streams;
mod texts;

pub use build::{Prompt, build, raw, tokenize};
pub use detokenize::{Detokenizer, text_of, whole_text_of, window};
pub use stop::{StopMatcher, Stopped};
