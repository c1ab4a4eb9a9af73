//! An answer's text, taken apart into reasoning and answer.

use super::Marks;

/// Takes an answer apart while it grows.
#[derive(Clone, Debug, PartialEq)]
pub struct ReasoningReader {
    marks: Marks,
    state: State,
    /// Text that cannot be judged yet.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space yet: what comes first decides.
    Start,
    /// Behind the opening mark, before any word.
    Opened,
    /// Inside the reasoning.
    Inside,
    /// Behind the closing mark, before any word.
    Closed,
    /// In the answer, to the end.
    Answer,
}

impl ReasoningReader {
    /// A reader of an answer whose prompt ends inside the reasoning, if `is_open`.
    pub fn new(marks: Marks, is_open: bool) -> Self {
        Self { marks, state: if is_open { State::Opened } else { State::Start }, held: String::new() }
    }

    /// Takes more text; what is known of it is added to `reasoning` and `answer`.
    pub fn push(&mut self, text: &str, reasoning: &mut String, answer: &mut String) {
        self.held.push_str(text);
        while self.step(reasoning, answer) {}
    }

    /// The answer is over: what was held back belongs where it stands.
    pub fn end(&mut self, reasoning: &mut String, answer: &mut String) {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Inside => reasoning.push_str(rest.trim_end_matches('\n')),
            State::Start | State::Answer => answer.push_str(&rest),
            State::Opened | State::Closed => {}
        }
        self.state = State::Answer;
    }

    /// One step forward; `false` if more text is needed.
    fn step(&mut self, reasoning: &mut String, answer: &mut String) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Opened => self.skip_lines(State::Inside),
            State::Inside => self.inside(reasoning),
            State::Closed => self.skip_lines(State::Answer),
            State::Answer => {
                answer.push_str(&std::mem::take(&mut self.held));
                false
            }
        }
    }

    fn start(&mut self) -> bool {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(self.marks.open) {
            self.held = rest.to_owned();
            self.state = State::Opened;
            return true;
        }
        if self.marks.open.starts_with(text) {
            return false;
        }
        self.state = State::Answer;
        true
    }

    /// Line ends beside the marks belong to the marks.
    fn skip_lines(&mut self, next: State) -> bool {
        let rest = self.held.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            self.held.clear();
            return false;
        }
        self.held = rest.to_owned();
        self.state = next;
        true
    }

    fn inside(&mut self, reasoning: &mut String) -> bool {
        let close = self.marks.close;
        if let Some(at) = self.held.find(close) {
            reasoning.push_str(self.held[..at].trim_end_matches('\n'));
            self.held.drain(..at + close.len());
            self.state = State::Closed;
            return true;
        }
        // What may become the mark waits, and so do line ends before it.
        let begun = (1..close.len()).rev().filter(|&length| close.is_char_boundary(length));
        let kept = begun.into_iter().find(|&length| self.held.ends_with(&close[..length])).unwrap_or(0);
        let shown = self.held[..self.held.len() - kept].trim_end_matches('\n').len();
        reasoning.push_str(&self.held.drain(..shown).collect::<String>());
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THINK: Marks = Marks { open: "<think>", close: "</think>" };

    fn read(text: &str, is_open: bool, stretch: usize) -> (String, String) {
        let mut reader = ReasoningReader::new(THINK, is_open);
        let (mut reasoning, mut answer) = (String::new(), String::new());
        let characters: Vec<char> = text.chars().collect();
        for part in characters.chunks(stretch) {
            reader.push(&part.iter().collect::<String>(), &mut reasoning, &mut answer);
        }
        reader.end(&mut reasoning, &mut answer);
        (reasoning, answer)
    }

    fn found(text: &str, is_open: bool) -> (String, String) {
        let found = read(text, is_open, 1);
        for stretch in [2, 5, 1_000] {
            assert_eq!(read(text, is_open, stretch), found, "{text} in stretches of {stretch}");
        }
        found
    }

    fn pair(reasoning: &str, answer: &str) -> (String, String) {
        (reasoning.to_owned(), answer.to_owned())
    }

    #[test]
    fn reasoning_stands_between_the_marks() {
        assert_eq!(found("<think>\nhm\n\nso\n</think>\n\nYes.", false), pair("hm\n\nso", "Yes."));
        assert_eq!(found("hm\n</think>\n\nYes.", true), pair("hm", "Yes."));
        assert_eq!(found(" \n<think>a</think>b</think>c", false), pair("a", "b</think>c"));
        assert_eq!(found("<think>\n\n</think>\n\nYes.", false), pair("", "Yes."));
    }

    #[test]
    fn an_answer_without_marks_is_an_answer() {
        for text in ["Yes <think>.", "<thin", "", " \n", "<", "a</think>b"] {
            assert_eq!(found(text, false), pair("", text));
        }
        assert_eq!(found("cut off </thi", true), pair("cut off </thi", ""));
        assert_eq!(found("<think>cut", false), pair("cut", ""));
    }

    proptest! {
        #[test]
        fn however_the_text_is_cut_the_same_is_found(text in "(<think>|</think>|<|/|[a-z \n]){0,12}", stretch in 1usize..9) {
            prop_assert_eq!(read(&text, false, stretch), read(&text, false, 1_000));
            prop_assert_eq!(read(&text, true, stretch), read(&text, true, 1_000));
        }
    }
}
