//! Lines of the user: from an editor with history on a terminal, else from standard input as they are.
//!
//! Reading blocks, so a thread of its own does it, one line at a time and only when one is wanted. The process does not
//! wait for that thread when it ends.

use std::{
    io::{self, BufRead, Read},
    sync::mpsc,
    thread,
};

use rustyline::{Config, Editor, error::ReadlineError, history::MemHistory};
use tokio::sync::oneshot;

use super::{complete::Completion, lines::BYTES_MAX};

/// Lines that the editor's history holds.
const HISTORY_MAX: usize = 1_000;

/// What the user gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end. On a terminal, pasted text may have several lines inside.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of standard input.
    End,
}

/// A prompt, and where the line goes that is entered behind it.
type Wanted = (&'static str, oneshot::Sender<io::Result<Line>>);

/// Lines of the user.
pub struct Input {
    wanted: mpsc::Sender<Wanted>,
}

impl Input {
    /// Standard input, with an editor if it is a terminal.
    pub fn open(is_terminal: bool) -> io::Result<Input> {
        Input::of(move || Source::open(is_terminal))
    }

    fn of(source: impl FnOnce() -> Source + Send + 'static) -> io::Result<Input> {
        let (wanted, asked) = mpsc::channel();
        thread::Builder::new().name("input".to_owned()).spawn(move || source().serve(&asked))?;
        Ok(Input { wanted })
    }

    /// The next line; the prompt is shown on a terminal only.
    pub async fn line(&self, prompt: &'static str) -> io::Result<Line> {
        let (to, from) = oneshot::channel();
        if self.wanted.send((prompt, to)).is_err() {
            return Ok(Line::End);
        }
        from.await.unwrap_or(Ok(Line::End))
    }

    /// Lines that are given beforehand.
    #[cfg(test)]
    pub fn given(text: String) -> Input {
        Input::of(move || Source::Plain(Box::new(io::Cursor::new(text)))).unwrap()
    }
}

enum Source {
    Editor(Box<Editor<Completion, MemHistory>>),
    Plain(Box<dyn BufRead>),
}

impl Source {
    /// A terminal that no editor can be opened on is read like any other input.
    fn open(is_terminal: bool) -> Source {
        let editor = is_terminal.then(editor).and_then(Result::ok);
        editor.map_or_else(|| Source::Plain(Box::new(io::stdin().lock())), |editor| Source::Editor(Box::new(editor)))
    }

    fn serve(mut self, asked: &mpsc::Receiver<Wanted>) {
        while let Ok((prompt, to)) = asked.recv() {
            // After Ctrl-C nobody waits for the line.
            let _ = to.send(self.read(prompt));
        }
    }

    fn read(&mut self, prompt: &str) -> io::Result<Line> {
        match self {
            Source::Editor(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Io(error)) => Err(error),
                Err(error) => Err(io::Error::other(error)),
            },
            Source::Plain(input) => Ok(read(input)?.map_or(Line::End, Line::Text)),
        }
    }
}

fn editor() -> rustyline::Result<Editor<Completion, MemHistory>> {
    let config = Config::builder().max_history_size(HISTORY_MAX)?.auto_add_history(true).build();
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history)?;
    editor.set_helper(Some(Completion::default()));
    Ok(editor)
}

/// Reads a line without its end; `None` at the end of the input. Of a line that is longer than a message may be, only
/// so much is held that its length shows.
fn read(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let most = BYTES_MAX as u64 + 1;
    if input.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        line.pop_if(|byte| *byte == b'\r');
    } else if line.len() as u64 == most {
        input.skip_until(b'\n')?;
        // The cut may have gone through a character.
        return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
    }
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "a line of standard input is not UTF-8");
    String::from_utf8(line).map(Some).map_err(no_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_ends() {
        let mut input = io::Cursor::new("a\r\n\nb");
        let found: Vec<String> = std::iter::from_fn(|| read(&mut input).unwrap()).collect();
        assert_eq!(found, ["a", "", "b"]);
        assert!(read(&mut io::Cursor::new(b"\xff\n")).is_err());
    }

    #[test]
    fn of_a_line_without_end_little_is_held() {
        let mut input = io::Cursor::new([vec![b'x'; 3 * BYTES_MAX], b"\nafter".to_vec()].concat());
        assert_eq!(read(&mut input).unwrap().unwrap().len(), BYTES_MAX + 1);
        assert_eq!(read(&mut input).unwrap().as_deref(), Some("after"));
    }

    #[tokio::test]
    async fn lines_come_as_they_are_wanted() {
        let input = Input::given("a\nb".to_owned());
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(input.line("> ").await.unwrap());
        }
        assert_eq!(found, [Line::Text("a".into()), Line::Text("b".into()), Line::End, Line::End]);
    }
}
