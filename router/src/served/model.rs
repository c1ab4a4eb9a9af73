//! A checkpoint as it was read: its tokenizer, chat template, special tokens and defaults.

use std::sync::OnceLock;

use secateur_grammar::{Grammar, GrammarError, Spelling, Vocabulary};
use tokenizers::Tokenizer;

use super::defaults::GenerationDefaults;
use crate::{template::ChatTemplate, tools::Dialect};

/// Everything that the router needs of a checkpoint.
pub struct ServedModel {
    /// The name that clients use.
    pub name: String,
    /// The checkpoint's own name: its folder's, its repository's, or its GGUF file's.
    pub root: String,
    /// The tokenizer: text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How the vocabulary spells tokens, which gives a token's bytes.
    pub spelling: Spelling,
    /// blake3 of tokenizer.json, or of a GGUF file's tokenizer data, in hex; nodes must have the same.
    pub tokenizer_digest: String,
    /// The chat template; `None` if the checkpoint has none.
    pub template: Option<ChatTemplate>,
    /// How the model writes calls of tools; `None` if it is not told of tools.
    pub tool_dialect: Option<Dialect>,
    /// The image token; `None` if the model takes no pictures.
    pub image_token: Option<ImageToken>,
    /// Tokens that no text of a conversation may become: only the template writes them, and authors of raw prompts.
    pub special_tokens: SpecialTokens,
    /// Tokens that end an answer, from the checkpoint; nodes may add further ones.
    pub stop_token_ids: Vec<u32>,
    /// Longest context in positions, from config.json; `None` if only the nodes know it.
    pub max_positions: Option<u32>,
    /// Size of the vocabulary, added tokens included.
    pub vocab: u32,
    /// Length of the longest token in bytes, from which follows the smallest number of tokens that a text can become.
    pub token_bytes_max: usize,
    /// Sampling defaults for values that a request does not give.
    pub defaults: GenerationDefaults,
    /// The tokenizer for text that looks like special tokens and is not; made for the first prompt that has some.
    pub literal_tokenizer: OnceLock<Result<Tokenizer, String>>,
    /// The vocabulary that grammars are compiled against; made for the first request that has one.
    pub(super) vocabulary: OnceLock<Result<Vocabulary, GrammarError>>,
}

/// The token that stands for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageToken {
    /// The token's id.
    pub id: u32,
    /// The token's text, usually `<image>`.
    pub text: String,
}

/// Special tokens by text and by id.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// Texts of the tokens.
    pub texts: Vec<String>,
    /// Ids of the tokens.
    pub ids: std::collections::HashSet<u32>,
    /// The token for unknown words, which is not among `ids`: it is special only where its own text stands.
    pub unknown: Option<u32>,
}

impl ServedModel {
    /// Compiles a grammar as the nodes will, to find out whether it can be used. Takes milliseconds.
    pub fn check(&self, grammar: &Grammar) -> Result<(), GrammarError> {
        let vocabulary = self.vocabulary.get_or_init(|| {
            let tokenizer = serde_json::to_value(&self.tokenizer);
            let tokenizer = tokenizer.map_err(|error| GrammarError::Tokenizer(error.to_string()))?;
            Vocabulary::of_tokenizer(&tokenizer, self.stop_token_ids.first().copied())
        });
        vocabulary.as_ref().map_err(Clone::clone)?.compile(grammar, &[]).map(drop)
    }

    /// The bytes of a token, which may be part of a character; empty for an id that the tokenizer does not know.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.id_to_token(id).map(|token| self.spelling.bytes(&token)).unwrap_or_default()
    }
}
