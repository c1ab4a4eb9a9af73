//! Lines joined to messages: a backslash at the end of a line, or a block between two lines of `"""`.

/// The line before and after a block.
const FENCE: &str = "\"\"\"";
/// Most bytes of a message; a context of a million tokens has fewer.
pub const BYTES_MAX: usize = 4 << 20;

/// What the user entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A single line that begins with `/`.
    Command(String),
    /// Words for the model.
    Message(String),
    /// A message of more than [`BYTES_MAX`] bytes, of which nothing is left.
    TooLong,
}

/// Lines that are not a whole entry yet.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
    open: Open,
    is_over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Open {
    #[default]
    No,
    /// The last line ended with a backslash.
    Continued,
    /// A block has begun.
    Block,
}

impl Lines {
    /// Adds a line, and returns the entry that it completes. A line that was pasted may have several inside.
    pub fn push(&mut self, line: &str) -> Option<Entry> {
        match self.open {
            Open::No if is_fence(first(line)) => {
                self.open = Open::Block;
                line.split_once('\n').and_then(|(_, rest)| self.push(rest))
            }
            Open::No if line.starts_with('/') && !line.contains('\n') => Some(Entry::Command(line.to_owned())),
            Open::Block => match closed(line) {
                Some(before) => {
                    before.into_iter().for_each(|before| self.add(before));
                    self.end()
                }
                None => {
                    self.add(line);
                    None
                }
            },
            Open::No | Open::Continued => match line.strip_suffix('\\') {
                Some(line) => {
                    self.add(line);
                    self.open = Open::Continued;
                    None
                }
                None => {
                    self.add(line);
                    self.end()
                }
            },
        }
    }

    /// Ends what is open, and returns it as an entry; `None` if there is nothing to send.
    pub fn end(&mut self) -> Option<Entry> {
        let Lines { mut text, is_over, .. } = std::mem::take(self);
        if is_over {
            return Some(Entry::TooLong);
        }
        // The break behind the last line separates it from nothing.
        text.pop();
        (!text.trim().is_empty()).then_some(Entry::Message(text))
    }

    /// Drops what is open.
    pub fn clear(&mut self) {
        *self = Lines::default();
    }

    /// Whether further lines belong to the same message.
    pub fn is_open(&self) -> bool {
        self.open != Open::No
    }

    fn add(&mut self, line: &str) {
        self.is_over |= self.text.len() + line.len() > BYTES_MAX;
        if self.is_over {
            self.text.clear();
            return;
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn is_fence(line: &str) -> bool {
    line.trim() == FENCE
}

fn first(text: &str) -> &str {
    text.split_once('\n').map_or(text, |(first, _)| first)
}

/// What stands before a closing fence on the last line; the inner `None` is nothing. `None` if there is no such fence.
fn closed(text: &str) -> Option<Option<&str>> {
    match text.rsplit_once('\n') {
        Some((before, last)) => is_fence(last).then_some(Some(before)),
        None => is_fence(text).then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(given: &[&str]) -> (Vec<Entry>, Lines) {
        let mut lines = Lines::default();
        let found = given.iter().filter_map(|line| lines.push(line)).collect();
        (found, lines)
    }

    fn message(text: &str) -> Entry {
        Entry::Message(text.to_owned())
    }

    #[test]
    fn lines_are_messages_and_commands() {
        let (found, lines) = entries(&["hello", "", "  ", "/quit", " / is division", "a\\", "b\\", "", "c"]);
        let expected = [
            message("hello"),
            Entry::Command("/quit".into()),
            message(" / is division"),
            message("a\nb\n"),
            message("c"),
        ];
        assert_eq!((found, lines.is_open()), (expected.into(), false));
    }

    #[test]
    fn a_block_is_one_message() {
        let (found, lines) = entries(&["\"\"\"", "/not a command\\", "", "  x", " \"\"\" ", "after"]);
        assert_eq!(found, [message("/not a command\\\n\n  x"), message("after")]);
        assert!(!lines.is_open());
        let (found, _) = entries(&["\"\"\"", "\"\"\"", "\"\"\"", " ", "\"\"\""]);
        assert_eq!(found, []);
    }

    #[test]
    fn what_is_pasted_at_once_is_one_message() {
        let (found, _) = entries(&["/a\nb", "\"\"\"\nc\nd\n\"\"\"", "\"\"\"\ne", "f\n\"\"\""]);
        assert_eq!(found, [message("/a\nb"), message("c\nd"), message("e\nf")]);
    }

    #[test]
    fn what_is_open_ends_with_the_input_or_is_dropped() {
        let (_, mut lines) = entries(&["\"\"\"", "a", "b"]);
        assert!(lines.is_open());
        assert_eq!(lines.end(), Some(message("a\nb")));
        assert_eq!((lines.end(), lines.is_open()), (None, false));
        let (_, mut lines) = entries(&["a\\"]);
        lines.clear();
        assert_eq!((lines.end(), lines.is_open()), (None, false));
    }

    #[test]
    fn a_message_has_a_limit() {
        let half = "x".repeat(BYTES_MAX / 2 + 1);
        let (found, _) = entries(&["\"\"\"", &half, &half, "y", "\"\"\"", "after", &half]);
        assert_eq!((&found[0], &found[1], found.len()), (&Entry::TooLong, &message("after"), 3));
        assert_eq!(entries(&[&"x".repeat(BYTES_MAX + 1)]).0, [Entry::TooLong]);
    }
}
