//! Per-token entries (log probabilities) that are released together with their token's text: while the text is held
//! back so is the entry, and if a stop text cuts the text off the entry is dropped. Plain data.

use std::collections::VecDeque;

/// Entries of tokens whose text has not been released yet.
#[derive(Debug)]
pub struct Held<T> {
    /// Entries of tokens without their whole text so far (the first bytes of a character, or special tokens), each with
    /// the place in the answer where it begins.
    open: Vec<(usize, T)>,
    /// Entries whose text is known but held back, each with the byte range of its text in the answer.
    waiting: VecDeque<(usize, usize, T)>,
    written: usize,
    shown: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { open: Vec::new(), waiting: VecDeque::new(), written: 0, shown: 0 }
    }
}

impl<T> Held<T> {
    /// Adds the entry of the next token.
    pub fn token(&mut self, entry: T) {
        self.open.push((self.written, entry));
    }

    /// Assigns `bytes` bytes of text to all tokens added since the last call that had text. `is_unfinished`: the last of
    /// them also begins a character, and gets that too.
    pub fn text(&mut self, bytes: usize, is_unfinished: bool) {
        if bytes == 0 {
            return;
        }
        self.written += bytes;
        let end = self.written;
        let whole = self.open.len().saturating_sub(usize::from(is_unfinished));
        self.waiting.extend(self.open.drain(..whole).map(|(start, entry)| (start, end, entry)));
    }

    /// Records that `bytes` more bytes were released; returns the entries of tokens whose text is now released in full.
    pub fn shown(&mut self, bytes: usize) -> Vec<T> {
        self.shown += bytes;
        let shown = self.shown;
        self.take_while(|_, end| end <= shown)
    }

    /// Ends the answer at a stop text: returns the entries of tokens released in part, and drops the others.
    pub fn cut_off(&mut self) -> Vec<T> {
        let shown = self.shown;
        let entries = self.take_while(|start, _| start < shown);
        self.waiting.clear();
        let open = self.open.drain(..).filter(|(start, _)| *start < shown);
        entries.into_iter().chain(open.map(|(_, entry)| entry)).collect()
    }

    /// Ends an answer whose whole text was released: returns all entries that are left.
    pub fn rest(&mut self) -> Vec<T> {
        let waiting = self.take_while(|_, _| true);
        waiting.into_iter().chain(self.open.drain(..).map(|(_, entry)| entry)).collect()
    }

    fn take_while(&mut self, is_out: impl Fn(usize, usize) -> bool) -> Vec<T> {
        let count = self.waiting.iter().take_while(|(start, end, _)| is_out(*start, *end)).count();
        self.waiting.drain(..count).map(|(_, _, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_wait_for_the_text_of_their_tokens() {
        let mut held = Held::default();
        held.token('a');
        held.text(2, false);
        held.token('b');
        held.text(3, false);
        assert!(held.shown(1).is_empty(), "half of a is held back");
        assert_eq!(held.shown(3), ['a']);
        assert_eq!(held.shown(1), ['b']);
    }

    #[test]
    fn tokens_of_one_character_go_together() {
        let mut held = Held::default();
        held.token('1');
        held.text(0, true);
        held.token('2');
        held.text(3, false);
        assert_eq!(held.shown(3), ['1', '2']);
    }

    #[test]
    fn a_token_that_also_begins_a_character_waits_for_it() {
        let begun = || {
            let mut held = Held::default();
            held.token('a');
            held.text(1, true);
            assert!(held.shown(1).is_empty());
            held
        };
        let mut held = begun();
        held.token('b');
        held.text(3, false);
        assert!(held.shown(1).is_empty(), "a part of what b ends is held back");
        assert_eq!(held.shown(2), ['a', 'b']);
        assert_eq!(begun().cut_off(), ['a'], "it is out in part");
        assert_eq!(begun().rest(), ['a']);
    }

    #[test]
    fn what_a_stop_text_cut_off_does_not_appear() {
        let mut held = Held::default();
        for entry in ['a', 'b', 'c'] {
            held.token(entry);
            held.text(2, false);
        }
        assert_eq!(held.shown(3), ['a']);
        assert_eq!(held.cut_off(), ['b'], "b is out in part, c is not");
        assert!(held.rest().is_empty());
    }

    #[test]
    fn the_end_takes_everything_along() {
        let mut held = Held::default();
        held.token('a');
        held.text(2, false);
        held.token('b');
        assert_eq!(held.rest(), ['a', 'b']);
    }
}
