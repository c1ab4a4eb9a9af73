//! Tool calls: how a model writes them, reading them out of its text while it grows, and grammars that force them.
//!
//! ```text
//! dialect.rs    the ways in which models write calls
//! call.rs       one call, read character by character
//! reader.rs     an answer's text, taken apart into words and calls
//! forced.rs     the grammar of an answer that has to be a call
//! ```

mod call;
mod dialect;
mod forced;
mod reader;

pub use dialect::Dialect;
pub use forced::grammar;
pub use reader::{CallPart, ToolReader};

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// JSON schema of its arguments.
    pub parameters: serde_json::Value,
}

/// What a request says about tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolUse {
    /// Functions that may be called; empty if none may.
    pub functions: Vec<Function>,
    /// Whether the answer has to be a call.
    pub choice: Choice,
    /// Whether one answer may hold several calls.
    pub is_parallel: bool,
}

/// Whether the answer has to be a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    #[default]
    Auto,
    /// Some function has to be called.
    Required,
    /// The function of this name has to be called.
    Named(String),
}
