//! The list of tokens, and the kind of each.

use std::collections::HashMap;

use crate::error::Problem;
use crate::file::{Gguf, wrong_kind};
use crate::value::Value;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
/// Longest token in bytes: longer than any token of a real vocabulary, and short enough for algorithms that are
/// quadratic in it.
const TOKEN_BYTES_MAX: usize = 1024;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// An ordinary token: text, unknown, unused or a single byte.
    Plain,
    /// A control token, which only templates write.
    Control,
    /// A text that is never split, whatever the pre-tokenizer says.
    UserDefined,
}

/// The tokens of a file; the index of a token is its id.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    pub tokens: &'a [String],
    /// Kind of each token.
    pub kinds: Vec<TokenKind>,
}

impl<'a> Vocabulary<'a> {
    /// Reads the list of tokens; refused if there are more tokens than the model has embeddings.
    pub fn read(gguf: &'a Gguf) -> Result<Vocabulary<'a>, Problem> {
        let tokens = match gguf.value(TOKENS) {
            Some(Value::Texts(tokens)) if !tokens.is_empty() => tokens.as_slice(),
            Some(Value::Texts(_)) => return Err(Problem::key(TOKENS, "is empty")),
            Some(other) => return Err(wrong_kind(TOKENS, "an array of texts", other)),
            None => return Err(Problem::MissingKey(TOKENS.to_owned())),
        };
        if let Some(long) = tokens.iter().find(|token| token.len() > TOKEN_BYTES_MAX) {
            return Err(Problem::key(TOKENS, format!("a token of {} bytes", long.len())));
        }
        let rows = gguf.rows_of_embedding()?;
        if tokens.len() > rows {
            return Err(Problem::key(TOKENS, format!("{} tokens for {rows} embeddings", tokens.len())));
        }
        Ok(Vocabulary { tokens, kinds: kinds(gguf, tokens.len())? })
    }

    /// The text of the token with the given id.
    pub fn token(&self, id: u32) -> Result<&'a str, Problem> {
        let out = || Problem::key(TOKENS, format!("there is no token {id}"));
        self.tokens.get(id as usize).map(String::as_str).ok_or_else(out)
    }

    /// Map of texts to ids. Of tokens with equal texts the last one counts, as in transformers.
    pub fn ids(&self) -> HashMap<&'a str, u32> {
        self.tokens.iter().zip(0u32..).map(|(token, id)| (token.as_str(), id)).collect()
    }
}

fn kinds(gguf: &Gguf, tokens: usize) -> Result<Vec<TokenKind>, Problem> {
    match gguf.value(TYPES) {
        None => Ok(vec![TokenKind::Plain; tokens]),
        Some(Value::Integers(kinds)) if kinds.len() == tokens => Ok(kinds.iter().map(|kind| kind_of(*kind)).collect()),
        Some(Value::Integers(kinds)) => Err(Problem::key(TYPES, format!("{} types for {tokens} tokens", kinds.len()))),
        Some(other) => Err(wrong_kind(TYPES, "an array of integers", other)),
    }
}

fn kind_of(number: i64) -> TokenKind {
    match number {
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        _ => TokenKind::Plain,
    }
}

/// The merges of the file, each of two texts; `None` if the file lists none.
pub(super) fn merges(gguf: &Gguf) -> Result<Option<Vec<(&str, &str)>>, Problem> {
    let merges = match gguf.value(MERGES) {
        None => return Ok(None),
        Some(Value::Texts(merges)) => merges,
        Some(other) => return Err(wrong_kind(MERGES, "an array of texts", other)),
    };
    let two = |merge: &'_ String| Problem::key(MERGES, format!("`{merge}` is not two texts"));
    let pair = |merge| {
        let (left, right) = String::as_str(merge).split_once(' ').ok_or_else(|| two(merge))?;
        if left.is_empty() || right.is_empty() || right.contains(' ') { Err(two(merge)) } else { Ok((left, right)) }
    };
    merges.iter().map(pair).collect::<Result<Vec<_>, _>>().map(Some)
}
