//! A prompt that is used without a template.

/// A prompt that is used without a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPrompt {
    /// The prompt's text or tokens.
    pub words: Words,
    /// The field that the prompt came from.
    pub param: String,
}

/// A prompt's text or tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// Text that is still to be tokenized.
    Text(String),
    /// Token ids, at least one, each below the vocabulary's size.
    Tokens(Vec<u32>),
}
