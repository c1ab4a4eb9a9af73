//! An answer's text, taken apart into words and calls.

use super::{
    Dialect,
    call::{CallReader, NotACall},
};

/// A part of a call, in the order in which it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPart {
    /// Which call of the answer, from 0.
    pub index: usize,
    /// Name of the function, in a call's first part only.
    pub name: Option<String>,
    /// More of the arguments' JSON.
    pub arguments: String,
}

/// Takes an answer apart while it grows.
#[derive(Clone, Debug)]
pub struct ToolReader {
    dialect: Dialect,
    /// Functions that may be called.
    names: Vec<String>,
    is_parallel: bool,
    state: State,
    /// Text that cannot be judged yet.
    held: String,
    /// What stood in front of the call that is being read, until its name is known: part of the words if it is no call.
    lead: String,
    calls: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// Words; a mark may begin a call.
    Words,
    /// Nothing but white space yet; what comes first decides.
    Start,
    /// Inside a call; the flag says whether its name has been passed on.
    Call(Box<CallReader>, bool),
    /// Behind a call.
    After,
    /// Words to the end: the answer is no call.
    Plain,
    /// What follows is dropped: one call was allowed.
    Done,
}

impl ToolReader {
    /// A reader of an answer that may call these functions.
    pub fn new(dialect: Dialect, names: Vec<String>, is_parallel: bool) -> ToolReader {
        let state = if dialect.marks().is_some() { State::Words } else { State::Start };
        ToolReader { dialect, names, is_parallel, state, held: String::new(), lead: String::new(), calls: 0 }
    }

    /// Whether the answer has called a function.
    pub fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Takes more text; what is found is added to `words` and `calls`.
    pub fn push(&mut self, text: &str, words: &mut String, calls: &mut Vec<CallPart>) {
        self.held.push_str(text);
        while self.step(words, calls) {}
    }

    /// The answer is over: what was held back is words, unless a call was begun.
    pub fn end(&mut self, words: &mut String) {
        self.restore_lead();
        let held = std::mem::take(&mut self.held);
        match &self.state {
            State::Call(_, true) | State::Done | State::After => {}
            State::Words if self.calls > 0 && held.trim().is_empty() => {}
            _ => words.push_str(&held),
        }
        self.state = State::Done;
    }

    /// One step forward; `false` if more text is needed.
    fn step(&mut self, words: &mut String, calls: &mut Vec<CallPart>) -> bool {
        match &self.state {
            State::Words => self.words(words),
            State::Start => self.start(),
            State::Call(..) => self.call(calls),
            State::After => self.after(),
            State::Plain => {
                words.push_str(&std::mem::take(&mut self.held));
                false
            }
            State::Done => {
                self.held.clear();
                false
            }
        }
    }

    /// Passes words on up to a mark, or up to what may become one.
    fn words(&mut self, words: &mut String) -> bool {
        let Some((open, _)) = self.dialect.marks() else { return false };
        if let Some(at) = self.held.find(open) {
            self.say(at, words);
            self.lead = self.held.drain(..open.len()).collect();
            self.state = State::Call(Box::default(), false);
            return true;
        }
        let keep = (1..open.len()).rev().find(|&length| self.held.ends_with(&open[..length])).unwrap_or(0);
        self.say(self.held.len() - keep, words);
        false
    }

    /// Passes on the first `length` bytes; white space between calls is not the answer's.
    fn say(&mut self, length: usize, words: &mut String) {
        let said: String = self.held.drain(..length).collect();
        if self.calls == 0 || !said.trim().is_empty() {
            words.push_str(&said);
        }
    }

    fn start(&mut self) -> bool {
        let text = self.held.trim_start();
        let Some(first) = text.chars().next() else { return false };
        self.state = match first {
            '{' => State::Call(Box::default(), false),
            '[' if self.calls == 0 => {
                let skipped = self.held.len() - text.len() + 1;
                // A list of anything else than objects is words.
                match text[1..].trim_start().chars().next() {
                    None => return false,
                    Some('{') => {
                        self.lead = self.held.drain(..skipped).collect();
                        State::Call(Box::default(), false)
                    }
                    Some(_) => State::Plain,
                }
            }
            _ => State::Plain,
        };
        true
    }

    fn call(&mut self, calls: &mut Vec<CallPart>) -> bool {
        let State::Call(reader, is_named) = &mut self.state else { return false };
        // Until its name is known, a call may turn out to be words: its text is held, and read from its start each time.
        let mut trial = if *is_named { reader.clone() } else { Box::<CallReader>::default() };
        let read = match trial.push(&self.held) {
            Ok(read) => read,
            Err(NotACall) => {
                self.state = if *is_named { State::Done } else { State::Plain };
                self.restore_lead();
                return true;
            }
        };
        if !*is_named {
            let Some(name) = read.name else { return false };
            if self.dialect.marks().is_none() && !self.names.contains(&name) {
                self.state = State::Plain;
                self.restore_lead();
                return true;
            }
            self.lead.clear();
            calls.push(CallPart { index: self.calls, name: Some(name), arguments: read.arguments });
            self.calls += 1;
        } else if !read.arguments.is_empty() {
            calls.push(CallPart { index: self.calls - 1, name: None, arguments: read.arguments });
        }
        self.held.drain(..read.used);
        self.state = if !read.is_complete {
            State::Call(trial, true)
        } else if self.is_parallel {
            State::After
        } else {
            State::Done
        };
        read.is_complete
    }

    /// What was taken for the beginning of a call is words.
    fn restore_lead(&mut self) {
        self.held.insert_str(0, &std::mem::take(&mut self.lead));
    }

    /// Skips what stands between calls.
    fn after(&mut self) -> bool {
        let trimmed = self.held.trim_start();
        let skipped = self.held.len() - trimmed.len();
        match self.dialect.marks() {
            Some((_, close)) => {
                if trimmed.len() < close.len() && close.starts_with(trimmed) {
                    return false;
                }
                let close = if trimmed.starts_with(close) { close.len() } else { 0 };
                self.held.drain(..skipped + close);
                self.state = State::Words;
            }
            None => {
                let Some(first) = trimmed.chars().next() else { return false };
                // Between the calls of a list, of Llama's, and behind them.
                if matches!(first, ',' | ';' | ']') {
                    self.held.drain(..=skipped);
                } else if first == '{' {
                    self.state = State::Start;
                } else {
                    self.state = State::Done;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = (String, Vec<(String, String)>);

    fn read(dialect: Dialect, text: &str, stretch: usize, is_parallel: bool) -> Found {
        let mut reader = ToolReader::new(dialect, vec!["f".into(), "g".into()], is_parallel);
        let (mut words, mut parts) = (String::new(), Vec::new());
        let characters: Vec<char> = text.chars().collect();
        for part in characters.chunks(stretch) {
            reader.push(&part.iter().collect::<String>(), &mut words, &mut parts);
        }
        reader.end(&mut words);
        let mut calls: Vec<(String, String)> = Vec::new();
        for CallPart { index, name, arguments } in parts {
            assert_eq!(name.is_some(), index == calls.len(), "a call's first part has its name");
            match name {
                Some(name) => calls.push((name, arguments)),
                None => calls[index].1.push_str(&arguments),
            }
        }
        (words, calls)
    }

    /// However the text is cut, the same is found.
    fn found(dialect: Dialect, text: &str) -> Found {
        let found = read(dialect, text, 1, true);
        for stretch in [2, 3, 7, 1_000] {
            assert_eq!(read(dialect, text, stretch, true), found, "{text} in stretches of {stretch}");
        }
        found
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn hermes_calls_stand_among_words() {
        let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"<tool_call>\"}}\n</tool_call>";
        assert_eq!(found(Dialect::Hermes, one), (String::new(), vec![call("f", r#"{"x": "<tool_call>"}"#)]));
        let two = format!("Let me see. {one}\n<tool_call>{{\"name\": \"g\"}}</tool_call>\n");
        let (words, calls) = found(Dialect::Hermes, &two);
        assert_eq!((words.as_str(), calls.len(), &calls[1]), ("Let me see. ", 2, &call("g", "{}")));
        assert_eq!(read(Dialect::Hermes, &two, 5, false).1.len(), 1, "only one where calls may not be parallel");
        for words in ["a < b", "x <tool_cal", "<tool_call> is a mark", "<tool_call>{\"a\": 1}</tool_call>", ""] {
            assert_eq!(found(Dialect::Hermes, words), (words.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_whole_text_is_a_call_or_words() {
        let one = r#"{"name": "f", "parameters": {"x": 1}}"#;
        assert_eq!(found(Dialect::Llama, one), (String::new(), vec![call("f", r#"{"x": 1}"#)]));
        let two = format!("{one}; {one}");
        assert_eq!(found(Dialect::Llama, &two).1.len(), 2);
        let list = r#" [{"name": "g", "arguments": {}}, {"name": "f", "arguments": {"x": [1, 2]}}]"#;
        assert_eq!(
            found(Dialect::Mistral, list),
            (String::new(), vec![call("g", "{}"), call("f", r#"{"x": [1, 2]}"#)])
        );
        for words in [r#"{"name": "other", "parameters": {}}"#, r#"{"x": 1}"#, "Hello {", " [1, 2]", "[", "{\"na", "  "]
        {
            assert_eq!(found(Dialect::Json, words), (words.to_owned(), vec![]), "{words}");
        }
    }

    #[test]
    fn arguments_are_passed_on_as_they_come() {
        let mut reader = ToolReader::new(Dialect::Hermes, vec![], true);
        let (mut words, mut parts) = (String::new(), Vec::new());
        reader.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"te", &mut words, &mut parts);
        assert_eq!(parts, [CallPart { index: 0, name: Some("f".into()), arguments: "{\"te".into() }]);
        reader.push("xt\": 1", &mut words, &mut parts);
        assert_eq!(parts[1], CallPart { index: 0, name: None, arguments: "xt\": 1".into() });
    }

    proptest! {
        /// Nothing is lost of a text without calls, and no text makes the reader panic.
        #[test]
        fn any_text_is_read(text in "[<>/a-z_{}\\[\\]\":, \n]{0,60}", stretch in 1usize..7) {
            for dialect in [Dialect::Hermes, Dialect::Llama, Dialect::Mistral, Dialect::Json] {
                let (words, calls) = read(dialect, &text, stretch, true);
                if calls.is_empty() {
                    prop_assert_eq!(words, text.clone());
                }
            }
        }
    }
}
