//! Tokens to text, one token at a time, in whole characters.
//!
//! Decoders look at neighbours (a leading space is dropped at the start, bytes of one character span tokens), so a token
//! cannot be decoded alone. As in vLLM and TGI, a short window of earlier tokens is decoded with and without the new
//! ones, and the difference is the new text. Text that ends in the replacement character is an unfinished character and
//! waits for its rest.

use std::sync::Arc;

use crate::served::ServedModel;

/// An unfinished character is at most four bytes, each at most one token. A run this long is no character: it is shown as
/// it is, so that garbage can neither grow the window nor the answer's delay.
const UNFINISHED_TOKENS_MAX: usize = 64;

/// Tokens before the answer that decide how its first ones are written.
const BEFORE_TOKENS: usize = 8;

/// Tokens without text that a window may hold.
const SILENT_TOKENS_MAX: usize = 128;

/// Those of `before` that decide how what comes next is written.
pub fn window(before: &[u32]) -> &[u32] {
    &before[before.len().saturating_sub(BEFORE_TOKENS)..]
}

/// The text of one answer, growing.
pub struct Detokenizer {
    model: Arc<ServedModel>,
    /// The window: shown tokens up to `read`, then tokens that wait.
    tokens: Vec<u32>,
    read: usize,
}

impl Detokenizer {
    /// An empty answer whose text goes on from that of `before`: its first word keeps its leading space.
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

    /// What is left when the answer ends, an unfinished character shown as the replacement character.
    pub fn flush(&mut self) -> String {
        if self.read == self.tokens.len() {
            return String::new();
        }
        let text = self.decode(&self.tokens);
        self.advance(&text)
    }

    /// Shows everything in the window, whose text is `text`, and moves the window on.
    fn advance(&mut self, text: &str) -> String {
        let shown = self.decode(&self.tokens[..self.read]);
        let new = match text.strip_prefix(shown.as_str()) {
            Some(new) => new.to_owned(),
            // The decoder saw the earlier tokens differently: a run of bytes that turned out invalid.
            None => self.decode(&self.tokens[self.read..]),
        };
        // Tokens that show nothing (special ones) would leave a window without text, before which a decoder would drop
        // the next word's leading space.
        let is_worth_a_window = !new.is_empty();
        if is_worth_a_window {
            self.tokens.drain(..self.read);
        } else if self.tokens.len() > SILENT_TOKENS_MAX {
            // An answer of special tokens alone must not be decoded from its beginning at each of them.
            self.tokens.drain(..self.tokens.len() - BEFORE_TOKENS);
        }
        self.read = self.tokens.len();
        new
    }

    fn decode(&self, tokens: &[u32]) -> String {
        text_of(&self.model, tokens)
    }
}

/// The text of `tokens`, special ones left out. Fails only for decoders that refuse their own vocabulary; the answer then
/// lacks that piece, and the log says so.
pub fn text_of(model: &ServedModel, tokens: &[u32]) -> String {
    model.tokenizer.decode(tokens, true).unwrap_or_else(|error| {
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
