//! Text to tokens and back: chat template, tokenizer, incremental detokenizer, stop texts, tokens' bytes.

mod build;
mod content_format;
mod detokenize;
mod jinja;
mod marks;
mod spelling;
mod stop;
mod strftime;
mod template;

pub use build::{Prompt, build, raw, tokenize};
pub use detokenize::{Detokenizer, text_of, window};
pub use spelling::Spelling;
pub use stop::{StopMatcher, Stopped};
pub use template::{ChatTemplate, NamedTokens, TemplateError};
