//! Turns tokens into text, one token at a time, in whole characters.
//!
//! Decoders look at neighbours (a leading space is dropped at the start, bytes of one character span tokens), so a
//! token cannot be decoded alone. As in vLLM and TGI, a short window of earlier tokens is decoded with and without the
//! new ones, and the difference is the new text. Only the bytes of an unfinished character at its end wait: tokens may
//! begin and end within characters, so to wait for a token that ends with one could take for ever.

use std::sync::Arc;

use crate::served::ServedModel;

/// Number of tokens before the answer that decide how its first tokens are written.
const BEFORE_TOKENS: usize = 8;

/// Most tokens that may wait. Those of one character are at most four; the bound is for decoders that drop tokens.
const WAITING_TOKENS_MAX: usize = 16;

/// The last tokens of `before` that decide how the next tokens are written: those with text, from the beginning of a
/// character on, since a decoder may take all bytes in a row for unreadable where the first of them are missing.
pub fn window(model: &ServedModel, before: &[u32]) -> Vec<u32> {
    let with_text = before.iter().rev().copied().filter(|token| has_text(model, *token));
    let mut last: Vec<u32> = with_text.take(BEFORE_TOKENS).collect();
    last.reverse();
    let begins_within = |token: &&u32| model.token_bytes(**token).first().copied().is_some_and(is_continuation);
    let within = last.iter().take_while(begins_within).count();
    last.drain(..within);
    last
}

/// The growing text of one answer.
pub struct Detokenizer {
    model: Arc<ServedModel>,
    /// The window: tokens whose finished characters were shown, up to `read`, then tokens that wait. All have text.
    tokens: Vec<u32>,
    read: usize,
}

impl Detokenizer {
    /// An empty answer whose text continues that of the tokens `before`, so that its first word keeps its leading
    /// space.
    pub fn after(model: Arc<ServedModel>, before: &[u32]) -> Self {
        let tokens = window(&model, before);
        Self { model, read: tokens.len(), tokens }
    }

    /// The text that `token` completes; empty while a character is unfinished.
    pub fn push(&mut self, token: u32) -> String {
        if !has_text(&self.model, token) {
            return String::new();
        }
        self.tokens.push(token);
        self.advance(&self.finished(&self.tokens))
    }

    /// The remaining text when the answer ends; an unfinished character becomes the replacement character.
    pub fn flush(&mut self) -> String {
        self.advance(&self.decode(&self.tokens))
    }

    /// Whether the last token with text ends within a character.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished(&self.tokens).is_some()
    }

    /// The bytes that `token` adds to the text if it comes next: none for a special token, and none of the space that
    /// the decoder drops at the beginning.
    pub fn bytes_of(&self, token: u32) -> Vec<u8> {
        if !has_text(&self.model, token) {
            return Vec::new();
        }
        let bytes = self.model.token_bytes(token);
        let may_lose_space = self.tokens.is_empty() && bytes.first() == Some(&b' ');
        if may_lose_space { self.decode(&[token]).into_bytes() } else { bytes }
    }

    /// Returns the new text of the window, whose text is `text`, and moves the window forward.
    fn advance(&mut self, text: &str) -> String {
        let shown = self.finished(&self.tokens[..self.read]);
        let new = match text.strip_prefix(shown.as_str()) {
            Some(new) => new.to_owned(),
            // The new tokens changed the decoding of earlier ones: a run of bytes turned out to be invalid.
            None => self.lossy(&self.tokens[self.read..]),
        };
        if !new.is_empty() {
            self.tokens.drain(..self.read);
            self.read = self.tokens.len();
        } else if self.tokens.len() - self.read > WAITING_TOKENS_MAX {
            self.tokens.truncate(self.read);
        }
        new
    }

    /// The text of `tokens` without an unfinished character at its end.
    fn finished(&self, tokens: &[u32]) -> String {
        match self.unfinished(tokens) {
            None => self.decode(tokens),
            // A decoder with byte fallback takes all bytes in a row for unreadable while one character is unfinished.
            Some((first, 0)) => self.decode(&tokens[..first]),
            Some((first, _)) => {
                let mut text = self.decode(&tokens[..=first]);
                if text.ends_with(char::REPLACEMENT_CHARACTER) {
                    text.pop();
                }
                text
            }
        }
    }

    /// Where the unfinished character at the end of `tokens` begins, if there is one: the index of its first token, and
    /// the number of that token's bytes before it.
    fn unfinished(&self, tokens: &[u32]) -> Option<(usize, usize)> {
        let mut tail = Vec::new();
        for (index, token) in tokens.iter().enumerate().rev() {
            let mut bytes = self.model.token_bytes(*token);
            let start = bytes.iter().rposition(|byte| !is_continuation(*byte));
            bytes.append(&mut tail);
            if let Some(start) = start {
                let error = std::str::from_utf8(&bytes[start..]).err();
                return error.filter(|error| error.error_len().is_none()).map(|_| (index, start));
            }
            // A character has at most three bytes after its first one.
            if bytes.len() > 3 {
                return None;
            }
            tail = bytes;
        }
        None
    }

    fn lossy(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| self.model.token_bytes(*token)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn decode(&self, tokens: &[u32]) -> String {
        text_of(&self.model, tokens)
    }
}

/// Whether `byte` is not the first one of its character.
fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// Whether `token` is written at all: it has a text, and is not special. The decoder never sees the others.
fn has_text(model: &ServedModel, token: u32) -> bool {
    let is_special = |text: &str| model.tokenizer.get_added_vocabulary().is_special_token(text);
    model.tokenizer.id_to_token(token).is_some_and(|text| !text.is_empty() && !is_special(&text))
}

/// The text of `tokens` without special tokens. Decoding fails only for decoders that refuse their own vocabulary; the
/// answer then lacks that piece, and a warning is logged.
pub fn text_of(model: &ServedModel, tokens: &[u32]) -> String {
    decoded(model, tokens, true)
}

/// The text of `tokens`, special tokens included.
pub fn whole_text_of(model: &ServedModel, tokens: &[u32]) -> String {
    decoded(model, tokens, false)
}

fn decoded(model: &ServedModel, tokens: &[u32], skips_special: bool) -> String {
    model.tokenizer.decode(tokens, skips_special).unwrap_or_else(|error| {
        tracing::warn!(%error, "tokens cannot be decoded");
        String::new()
    })
}

#[cfg(test)]
mod tests;
