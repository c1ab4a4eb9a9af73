//! Output: answers on standard output, everything about them on standard error, so that a script gets the answers alone.

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal, Write, stderr, stdout},
};

use serde_json::Value;

use super::deltas::Piece;

/// Output of a conversation.
pub struct Screen {
    answers: Box<dyn Write>,
    notes: Box<dyn Write>,
    /// Whether answers are printed as documents, not as they come.
    is_json: bool,
    /// Whether a person looks at the answers.
    is_shown: bool,
    /// Whether notes may be dimmed.
    is_dim: bool,
    /// Whether the cursor stands behind reasoning, or behind words of the answer.
    line: Standing,
    /// The first error of standard output, such as a pipe that nobody reads.
    broken: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Start,
    InAnswer,
    InReasoning,
}

impl Screen {
    /// Output of this process.
    pub fn of_process(is_json: bool) -> Screen {
        let is_colourless = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let knows_colours = env::var_os("TERM").is_none_or(|name| name != "dumb");
        Screen {
            is_shown: stdout().is_terminal(),
            is_dim: stderr().is_terminal() && knows_colours && !is_colourless,
            ..Screen::plain(is_json, Box::new(stdout()), Box::new(stderr()))
        }
    }

    /// Output into files, without colours.
    pub fn plain(is_json: bool, answers: Box<dyn Write>, notes: Box<dyn Write>) -> Screen {
        Screen { answers, notes, is_json, is_shown: false, is_dim: false, line: Standing::Start, broken: None }
    }

    /// Prints a piece of an answer as it comes.
    pub fn piece(&mut self, piece: &Piece) {
        if self.is_json {
            return;
        }
        match piece {
            Piece::Text(words) => {
                self.leave(Standing::InReasoning);
                let words = if self.is_shown { printable(words) } else { Cow::Borrowed(words.as_str()) };
                self.answer(&words);
                self.line = if words.ends_with('\n') { Standing::Start } else { Standing::InAnswer };
            }
            Piece::Reasoning(words) => {
                self.leave(Standing::InAnswer);
                let shown = dimmed(&printable(words), self.is_dim);
                let _ = write!(self.notes, "{shown}").and_then(|()| self.notes.flush());
                self.line = if words.ends_with('\n') { Standing::Start } else { Standing::InReasoning };
            }
        }
    }

    /// Ends the line of an answer.
    pub fn end(&mut self) {
        self.leave(Standing::InReasoning);
        self.leave(Standing::InAnswer);
    }

    /// Prints a document on a line of its own.
    pub fn document(&mut self, document: &Value) {
        self.answer(&format!("{document}\n"));
    }

    /// Prints a line about the conversation.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.notes, "{}", dimmed(&printable(text), self.is_dim));
    }

    /// Prints an error that the conversation goes on after.
    pub fn error(&mut self, text: &str) {
        let _ = writeln!(self.notes, "error: {}", printable(text));
    }

    /// Fails if answers can no longer be printed.
    pub fn check(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }

    fn leave(&mut self, standing: Standing) {
        if self.line != standing {
            return;
        }
        match standing {
            Standing::Start => return,
            Standing::InAnswer => self.answer("\n"),
            Standing::InReasoning => drop(writeln!(self.notes)),
        }
        self.line = Standing::Start;
    }

    fn answer(&mut self, text: &str) {
        let written = self.answers.write_all(text.as_bytes()).and_then(|()| self.answers.flush());
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }
}

/// Text that moves no cursor and changes no colour of a terminal, whatever a model says.
fn printable(text: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(is_harmful) { Cow::Owned(text.replace(is_harmful, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Dim text, line by line, if the terminal may be told so.
fn dimmed(text: &str, is_dim: bool) -> String {
    if !is_dim || text.is_empty() {
        return text.to_owned();
    }
    format!("\u{1b}[2m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::tests::Shared;

    #[test]
    fn answers_and_notes_are_apart() {
        let (answers, notes) = (Shared::default(), Shared::default());
        let mut screen = Screen::plain(false, Box::new(answers.clone()), Box::new(notes.clone()));
        screen.piece(&Piece::Reasoning("hm".into()));
        screen.piece(&Piece::Text("a".into()));
        screen.piece(&Piece::Text("b".into()));
        screen.end();
        screen.end();
        screen.note("2 tokens");
        screen.piece(&Piece::Text("c\n".into()));
        screen.end();
        assert_eq!((answers.text().as_str(), notes.text().as_str()), ("ab\nc\n", "hm\n2 tokens\n"));
        assert!(screen.check().is_ok());
    }

    #[test]
    fn a_model_cannot_command_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n\tc\u{7}"), "a\u{fffd}[2Jb\u{fffd}\n\tc\u{fffd}");
        assert_eq!((dimmed("a", true).as_str(), dimmed("a", false).as_str()), ("\u{1b}[2ma\u{1b}[0m", "a"));
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_noticed() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut screen = Screen::plain(true, Box::new(Closed), Box::new(io::sink()));
        screen.document(&Value::Null);
        assert!(screen.check().is_err());
    }
}
