//! A checkpoint's chat template: renders a conversation to the prompt's text.
//!
//! ```text
//! chat_template.rs  a compiled template, and what it knows of tools and reasoning
//! takes.rs          the forms in which a template takes content
//! jinja/            the dialect of Jinja that transformers renders
//! ```

mod chat_template;
mod jinja;
mod takes;

pub use chat_template::{ChatTemplate, Conversation, NamedTokens, TemplateError};
pub use jinja::Clock;
