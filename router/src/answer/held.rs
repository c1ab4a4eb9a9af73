//! What belongs to tokens and must go out with their text: not before it, when the text is held back, and not at all when
//! a stop text cut it off. Plain data.

use std::collections::VecDeque;

/// Entries of tokens whose text is not out yet.
#[derive(Debug)]
pub struct Held<T> {
    /// Of tokens that have no text yet: the beginning of a character, or special ones.
    open: Vec<T>,
    /// Where each one's text begins and ends in the answer, in bytes.
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
    /// A token came.
    pub fn token(&mut self, entry: T) {
        self.open.push(entry);
    }

    /// The tokens since the last text turned out to be these bytes, together.
    pub fn text(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let (start, end) = (self.written, self.written + bytes);
        self.waiting.extend(self.open.drain(..).map(|entry| (start, end, entry)));
        self.written = end;
    }

    /// So many more bytes are out: the entries of the tokens that are now out in full.
    pub fn shown(&mut self, bytes: usize) -> Vec<T> {
        self.shown += bytes;
        let shown = self.shown;
        self.take_while(|_, end| end <= shown)
    }

    /// Nothing more will be out: of what is left, the entries of tokens that are out in part.
    pub fn cut_off(&mut self) -> Vec<T> {
        let shown = self.shown;
        let entries = self.take_while(|start, _| start < shown);
        self.waiting.clear();
        self.open.clear();
        entries
    }

    /// Everything is out: all that is left.
    pub fn rest(&mut self) -> Vec<T> {
        let waiting = self.take_while(|_, _| true);
        waiting.into_iter().chain(self.open.drain(..)).collect()
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
        held.text(2);
        held.token('b');
        held.text(3);
        assert!(held.shown(1).is_empty(), "half of a is held back");
        assert_eq!(held.shown(3), ['a']);
        assert_eq!(held.shown(1), ['b']);
    }

    #[test]
    fn tokens_of_one_character_go_together() {
        let mut held = Held::default();
        held.token('1');
        held.text(0);
        held.token('2');
        held.text(3);
        assert_eq!(held.shown(3), ['1', '2']);
    }

    #[test]
    fn what_a_stop_text_cut_off_does_not_appear() {
        let mut held = Held::default();
        for entry in ['a', 'b', 'c'] {
            held.token(entry);
            held.text(2);
        }
        assert_eq!(held.shown(3), ['a']);
        assert_eq!(held.cut_off(), ['b'], "b is out in part, c is not");
        assert!(held.rest().is_empty());
    }

    #[test]
    fn the_end_takes_everything_along() {
        let mut held = Held::default();
        held.token('a');
        held.text(2);
        held.token('b');
        assert_eq!(held.rest(), ['a', 'b']);
    }
}
