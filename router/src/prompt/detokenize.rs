//! Turns tokens into text, one token at a time, in whole characters.
//!
//! Decoders look at neighbours (a leading space is dropped at the start, bytes of one character span tokens), so a
//! token cannot be decoded alone. As in vLLM and TGI, a short window of earlier tokens is decoded with and without the
//! new ones, and the difference is the new text. Text that ends in the replacement character is an unfinished character
//! and waits for its remaining bytes.

use std::sync::Arc;

use crate::served::ServedModel;

/// Longest run of tokens that may wait as an unfinished character. A character has at most four bytes, each at most one
/// token, so a longer run is not a character: it is shown as it is, so that garbage grows neither the window nor the
/// delay.
const UNFINISHED_TOKENS_MAX: usize = 64;

/// Number of tokens before the answer that decide how its first tokens are written.
const BEFORE_TOKENS: usize = 8;

/// Most tokens without text that a window may hold.
const SILENT_TOKENS_MAX: usize = 128;

/// The last tokens of `before`, which decide how the next tokens are written.
pub fn window(before: &[u32]) -> &[u32] {
    &before[before.len().saturating_sub(BEFORE_TOKENS)..]
}

/// The growing text of one answer.
pub struct Detokenizer {
    model: Arc<ServedModel>,
    /// The window: tokens already shown up to `read`, then tokens that wait.
    tokens: Vec<u32>,
    read: usize,
}

impl Detokenizer {
    /// An empty answer whose text continues that of the tokens `before`, so that its first word keeps its leading
    /// space.
    pub fn after(model: Arc<ServedModel>, before: &[u32]) -> Self {
        let tokens = window(before).to_vec();
        Self { model, read: tokens.len(), tokens }
    }

    /// The text that `token` completes; empty while a character is unfinished.
    pub fn push(&mut self, token: u32) -> String {
        self.tokens.push(token);
        let text = self.decode(&self.tokens);
        let is_unfinished = text.ends_with(char::REPLACEMENT_CHARACTER);
        if is_unfinished && self.tokens.len() - self.read < UNFINISHED_TOKENS_MAX {
            return String::new();
        }
        self.advance(&text)
    }

    /// The remaining text when the answer ends; an unfinished character becomes the replacement character.
    pub fn flush(&mut self) -> String {
        if self.read == self.tokens.len() {
            return String::new();
        }
        let text = self.decode(&self.tokens);
        self.advance(&text)
    }

    /// Returns the new text of the window, whose whole text is `text`, and moves the window forward.
    fn advance(&mut self, text: &str) -> String {
        let shown = self.decode(&self.tokens[..self.read]);
        let new = match text.strip_prefix(shown.as_str()) {
            Some(new) => new.to_owned(),
            // The new tokens changed the decoding of earlier ones: a run of bytes turned out to be invalid.
            None => self.decode(&self.tokens[self.read..]),
        };
        // After tokens without text (special tokens) the window stays: on a window without text the decoder would drop
        // the next word's leading space.
        let is_worth_a_window = !new.is_empty();
        if is_worth_a_window {
            self.tokens.drain(..self.read);
        } else if self.tokens.len() > SILENT_TOKENS_MAX {
            // Bounds the window, so that an answer of only special tokens is not decoded from its start at each token.
            self.tokens.drain(..self.tokens.len() - BEFORE_TOKENS);
        }
        self.read = self.tokens.len();
        new
    }

    fn decode(&self, tokens: &[u32]) -> String {
        text_of(&self.model, tokens)
    }
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
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::served;

    fn model() -> Arc<ServedModel> {
        Arc::new(served::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model"), None).unwrap())
    }

    fn joined(model: &Arc<ServedModel>, tokens: &[u32]) -> (String, Vec<String>) {
        let mut detokenizer = Detokenizer::after(model.clone(), &[]);
        let mut pieces: Vec<String> = tokens.iter().map(|token| detokenizer.push(*token)).collect();
        pieces.push(detokenizer.flush());
        (pieces.concat(), pieces)
    }

    #[test]
    fn characters_come_whole() {
        let model = model();
        let tokens = model.tokenizer.encode("héllo 👩‍👧 你好", false).unwrap().get_ids().to_vec();
        let (text, pieces) = joined(&model, &tokens);
        assert_eq!(text, "héllo 👩‍👧 你好");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')));
    }

    #[test]
    fn an_unfinished_end_is_flushed_and_garbage_is_bounded() {
        let model = model();
        let emoji = model.tokenizer.encode("👩", false).unwrap().get_ids().to_vec();
        let (text, _) = joined(&model, &emoji[..2]);
        assert_eq!(text, "\u{FFFD}");
        let garbage: Vec<u32> = std::iter::repeat_n(emoji[1], 1_000).collect();
        let mut detokenizer = Detokenizer::after(model.clone(), &[]);
        for token in garbage {
            detokenizer.push(token);
            assert!(detokenizer.tokens.len() <= 2 * UNFINISHED_TOKENS_MAX);
        }
    }

    proptest! {
        #[test]
        fn joined_pieces_are_the_whole_text(text in "\\PC{0,40}") {
            let model = model();
            let tokens = model.tokenizer.encode(text.as_str(), false).unwrap().get_ids().to_vec();
            let whole = model.tokenizer.decode(&tokens, true).unwrap();
            prop_assert_eq!(joined(&model, &tokens).0, whole);
        }

        #[test]
        fn joined_pieces_are_the_whole_text_for_any_tokens(tokens in prop::collection::vec(0u32..270, 0..60)) {
            let model = model();
            let whole = model.tokenizer.decode(&tokens, true).unwrap();
            prop_assert_eq!(joined(&model, &tokens).0, whole);
        }
    }
}
