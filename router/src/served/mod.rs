//! The model as the router knows it: tokenizer, chat template, end tokens and defaults. No weights are read here.

mod chat_template;
mod defaults;
mod documents;
mod files;
mod generation_config;
#[cfg(test)]
mod gguf_tests;
mod load;
mod tokens;

use tokenizers::Tokenizer;

use crate::prompt::{ChatTemplate, Spelling};

pub use defaults::{GenerationDefaults, penalizes_repetition};
use documents::Documents;
pub use load::{LoadError, load};

/// Everything that the router needs of a checkpoint.
pub struct ServedModel {
    /// The name that clients use.
    pub name: String,
    /// The checkpoint's own name: its folder's, its repository's, or its GGUF file's.
    pub root: String,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// What bytes a token stands for.
    pub spelling: Spelling,
    /// blake3 of tokenizer.json, or of what a GGUF file says of its tokenizer, in hex; nodes must have the same.
    pub tokenizer_digest: String,
    /// None: the folder has no chat template.
    pub template: Option<ChatTemplate>,
    /// None: the model takes no pictures.
    pub image_token: Option<ImageToken>,
    /// Texts of tokens that only the template may produce.
    pub special_tokens: SpecialTokens,
    /// Tokens that end an answer, by the folder; nodes may add theirs.
    pub stop_token_ids: Vec<u32>,
    /// From config.json; none: only the nodes know.
    pub max_positions: Option<u32>,
    /// Size of the vocabulary, added tokens included.
    pub vocab: u32,
    /// Longest token in bytes: a bound on how few tokens a text can become.
    pub token_bytes_max: usize,
    /// What a request gets that says nothing of sampling.
    pub defaults: GenerationDefaults,
}

/// The token that stands for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageToken {
    /// Its id.
    pub id: u32,
    /// Its text, usually `<image>`.
    pub text: String,
}

/// Special tokens by text and by id.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// Their texts.
    pub texts: Vec<String>,
    /// Their ids.
    pub ids: std::collections::HashSet<u32>,
}

impl ServedModel {
    /// The bytes of a token, which may be part of a character; none for an id that the tokenizer does not know.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.id_to_token(id).map(|token| self.spelling.bytes(&token)).unwrap_or_default()
    }
}
