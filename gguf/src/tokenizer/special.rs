//! Special tokens: those named by a key, and those marked as never to be split.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::vocabulary::{TokenKind, Vocabulary};
use crate::error::Problem;
use crate::file::{Gguf, wrong_kind};
use crate::value::Value;

/// Role of a token that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpecialToken {
    Bos,
    Eos,
    /// End of turn, if that is another token than the end of the text.
    Eot,
    /// End of a message that a tool is to answer.
    Eom,
    Unknown,
    Padding,
}

impl SpecialToken {
    const ALL: [SpecialToken; 6] = [
        SpecialToken::Bos,
        SpecialToken::Eos,
        SpecialToken::Eot,
        SpecialToken::Eom,
        SpecialToken::Unknown,
        SpecialToken::Padding,
    ];

    fn key(self) -> &'static str {
        match self {
            SpecialToken::Bos => "tokenizer.ggml.bos_token_id",
            SpecialToken::Eos => "tokenizer.ggml.eos_token_id",
            SpecialToken::Eot => "tokenizer.ggml.eot_token_id",
            SpecialToken::Eom => "tokenizer.ggml.eom_token_id",
            SpecialToken::Unknown => "tokenizer.ggml.unknown_token_id",
            SpecialToken::Padding => "tokenizer.ggml.padding_token_id",
        }
    }
}

/// Texts of control tokens that end a turn in the templates of known families, whether a key names them or not.
/// llama.cpp goes by their texts as well, since many files name only one of a model's end tokens.
const TURN_ENDS: [&str; 6] = ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>"];

impl Gguf {
    /// The id of a special token, if a key names it; refused if the vocabulary has no such token.
    pub(super) fn special_id(&self, token: SpecialToken) -> Result<Option<u32>, Problem> {
        let Some(id) = self.count(token.key())? else { return Ok(None) };
        let known = match self.value(super::vocabulary::TOKENS) {
            Some(Value::Texts(tokens)) => tokens.len(),
            _ => 0,
        };
        if id as usize >= known {
            return Err(Problem::key(token.key(), format!("{id} is not one of {known} tokens")));
        }
        Ok(Some(id))
    }

    /// Ids of the tokens that end an answer, ascending.
    pub(crate) fn end_tokens(&self) -> Result<Vec<u32>, Problem> {
        let vocabulary = Vocabulary::read(self)?;
        let mut ids = BTreeSet::new();
        for token in [SpecialToken::Eos, SpecialToken::Eot, SpecialToken::Eom] {
            ids.extend(self.special_id(token)?);
        }
        for key in ["tokenizer.ggml.eog_token_ids", "tokenizer.ggml.eos_token_ids"] {
            match self.value(key) {
                None => {}
                Some(Value::Integers(listed)) => ids.extend(listed.iter().filter_map(|id| u32::try_from(*id).ok())),
                Some(other) => return Err(wrong_kind(key, "an array of integers", other)),
            }
        }
        for ((id, token), kind) in (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds) {
            if *kind == TokenKind::Control && TURN_ENDS.contains(&token.as_str()) {
                ids.insert(id);
            }
        }
        Ok(ids.into_iter().collect())
    }

    /// The `added_tokens` of `tokenizer.json`, which are matched in a text before it is split: control tokens and named
    /// ones, which are special, and user-defined ones, which are not.
    pub(super) fn added_tokens(&self, vocabulary: &Vocabulary<'_>) -> Result<Vec<Json>, Problem> {
        let mut named = BTreeSet::new();
        for token in SpecialToken::ALL {
            named.extend(self.special_id(token)?);
        }
        let mut added = Vec::new();
        for ((id, token), kind) in (0u32..).zip(vocabulary.tokens).zip(&vocabulary.kinds) {
            let is_special = *kind == TokenKind::Control || named.contains(&id);
            if (is_special || *kind == TokenKind::UserDefined) && !token.is_empty() {
                added.push(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": is_special,
                }));
            }
        }
        Ok(added)
    }
}
