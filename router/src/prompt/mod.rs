//! Text to tokens and back: chat template, tokenizer, incremental detokenizer, stop texts.

mod build;
mod content_format;
mod detokenize;
mod jinja;
mod marks;
mod stop;
mod strftime;
mod template;

pub use build::{Prompt, build};
pub use detokenize::Detokenizer;
pub use stop::{StopMatcher, Stopped};
pub use template::{ChatTemplate, NamedTokens, TemplateError};
