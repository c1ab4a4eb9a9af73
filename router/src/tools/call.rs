//! One call, read character by character: `{"name": "f", "arguments": {...}}`.

/// Keys under which models write arguments.
const ARGUMENTS: [&str; 2] = ["arguments", "parameters"];

/// What one more stretch of text has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// The function's name, once it is known.
    pub name: Option<String>,
    /// More of the arguments' JSON.
    pub arguments: String,
    /// Bytes of the text that belong to the call.
    pub used: usize,
    /// Whether the call is complete.
    pub is_complete: bool,
}

/// The text is not a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotACall;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In front of the object.
    Start,
    /// In front of a key, or of the end.
    Key,
    /// Inside a key.
    InKey,
    /// Behind a key, in front of its colon.
    Colon,
    /// In front of a value.
    Value,
    /// Inside a value.
    InValue,
    /// Behind a value.
    Comma,
    End,
}

/// A call that is being read. The arguments' JSON is passed on as it is written, so that it can be streamed.
#[derive(Clone, Debug)]
pub(super) struct CallReader {
    at: At,
    key: String,
    value: Value,
    name: Option<String>,
    /// Arguments that stand in front of the name.
    early: String,
    has_arguments: bool,
}

/// How far a value has been read.
#[derive(Clone, Debug, Default)]
struct Value {
    text: String,
    /// Open brackets.
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Default for CallReader {
    fn default() -> Self {
        let (key, early) = (String::new(), String::new());
        Self { at: At::Start, key, value: Value::default(), name: None, early, has_arguments: false }
    }
}

impl CallReader {
    /// Reads more text; stops behind the call's closing bracket.
    pub fn push(&mut self, text: &str) -> Result<Read, NotACall> {
        let mut read = Read::default();
        for (at, character) in text.char_indices() {
            self.step(character, &mut read)?;
            read.used = at + character.len_utf8();
            if self.at == At::End {
                if self.name.is_none() {
                    return Err(NotACall);
                }
                if !self.has_arguments {
                    read.arguments.push_str("{}");
                }
                read.is_complete = true;
                break;
            }
        }
        Ok(read)
    }

    fn step(&mut self, character: char, read: &mut Read) -> Result<(), NotACall> {
        let is_space = character.is_ascii_whitespace();
        match (self.at, character) {
            (At::InKey, '"') => self.at = At::Colon,
            // No key that counts has an escape in it.
            (At::InKey, '\\') => return Err(NotACall),
            (At::InKey, _) => self.key.push(character),
            (At::InValue, _) => self.value(character, read)?,
            (_, _) if is_space => {}
            (At::Start, '{') => self.at = At::Key,
            (At::Key, '"') => (self.at, self.key) = (At::InKey, String::new()),
            (At::Colon, ':') => self.at = At::Value,
            (At::Value, _) => {
                (self.at, self.value) = (At::InValue, Value::default());
                self.value(character, read)?;
            }
            (At::Comma, ',') => self.at = At::Key,
            (At::Comma | At::Key, '}') => self.at = At::End,
            _ => return Err(NotACall),
        }
        Ok(())
    }

    /// One more character of a value, or the one behind it.
    fn value(&mut self, character: char, read: &mut Read) -> Result<(), NotACall> {
        let value = &mut self.value;
        if value.in_string {
            value.text.push(character);
            self.argue(character, read);
            let value = &mut self.value;
            match character {
                _ if value.is_escaped => value.is_escaped = false,
                '\\' => value.is_escaped = true,
                '"' => value.in_string = false,
                _ => {}
            }
            return if !self.value.in_string && self.value.depth == 0 { self.end_value(read) } else { Ok(()) };
        }
        // A number or a word ends in front of what follows it.
        if value.depth == 0 && !value.text.is_empty() && matches!(character, ',' | '}') {
            self.end_value(read)?;
            return self.step(character, read);
        }
        if value.depth == 0 && !value.text.is_empty() && character.is_ascii_whitespace() {
            return self.end_value(read);
        }
        match character {
            '"' => value.in_string = true,
            '{' | '[' => value.depth += 1,
            '}' | ']' => value.depth = value.depth.checked_sub(1).ok_or(NotACall)?,
            _ => {}
        }
        value.text.push(character);
        self.argue(character, read);
        let is_over = self.value.depth == 0 && matches!(character, '}' | ']');
        if is_over { self.end_value(read) } else { Ok(()) }
    }

    /// Passes on a character of the arguments. Those that are a string hold JSON in it, and are passed on at their end.
    fn argue(&mut self, character: char, read: &mut Read) {
        if !self.is_arguments() || self.value.text.starts_with('"') {
            return;
        }
        if self.name.is_some() { read.arguments.push(character) } else { self.early.push(character) }
    }

    fn end_value(&mut self, read: &mut Read) -> Result<(), NotACall> {
        self.at = At::Comma;
        let text = std::mem::take(&mut self.value.text);
        if self.key == "name" && self.name.is_none() {
            let name: String = serde_json::from_str(&text).map_err(|_| NotACall)?;
            read.name = Some(name.clone());
            self.name = Some(name);
            read.arguments.push_str(&std::mem::take(&mut self.early));
        } else if self.is_arguments() {
            self.has_arguments = true;
            if text.starts_with('"') {
                let written: String = serde_json::from_str(&text).map_err(|_| NotACall)?;
                if self.name.is_some() { read.arguments.push_str(&written) } else { self.early.push_str(&written) }
            }
        }
        Ok(())
    }

    /// Whether the value that is being read is the arguments'. Only the first ones count.
    fn is_arguments(&self) -> bool {
        ARGUMENTS.contains(&self.key.as_str()) && !self.has_arguments
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that is read of a text that comes in stretches of so many characters.
    fn all(text: &str, stretch: usize) -> Result<(Option<String>, String, usize, bool), NotACall> {
        let mut reader = CallReader::default();
        let (mut name, mut arguments, mut used) = (None, String::new(), 0);
        let characters: Vec<char> = text.chars().collect();
        for part in characters.chunks(stretch) {
            let part: String = part.iter().collect();
            let read = reader.push(&part)?;
            name = name.or(read.name);
            arguments.push_str(&read.arguments);
            used += read.used;
            if read.is_complete {
                return Ok((name, arguments, used, true));
            }
        }
        Ok((name, arguments, used, false))
    }

    #[test]
    fn calls_are_read_in_either_order_and_from_either_key() {
        let expected = |arguments: &str, used| Ok((Some("f".to_owned()), arguments.to_owned(), used, true));
        let text = r#" {"name": "f", "arguments": {"a": [1, "}"], "b": "\"{"}} rest"#;
        assert_eq!(all(text, 3), expected(r#"{"a": [1, "}"], "b": "\"{"}"#, text.len() - 5));
        for (text, arguments) in [
            (r#"{"parameters": {"x": 1}, "name": "f"}"#, r#"{"x": 1}"#),
            (r#"{"type": "function", "id": 5 , "name": "f"}"#, "{}"),
            (r#"{"name": "f", "arguments": "{\"x\": 1}"}"#, r#"{"x": 1}"#),
            (r#"{"name": "f", "arguments": null}"#, "null"),
        ] {
            assert_eq!(all(text, 2), expected(arguments, text.len()), "{text}");
        }
    }

    #[test]
    fn what_is_no_call_is_found_out() {
        for text in ["hello", "{hello}", r#"{"a": 1}"#, r#"{"name": 5}"#, r#"{"name": "f" "x"}"#, "[1]"] {
            assert_eq!(all(text, 1), Err(NotACall), "{text}");
        }
        assert!(!all(r#"{"name": "f", "arg"#, 2).unwrap().3);
    }

    proptest! {
        #[test]
        fn stretches_make_no_difference(name in "[a-z]{1,8}", key in ".{0,6}", text in ".{0,12}", stretch in 1usize..9) {
            let arguments = serde_json::json!({key: text, "n": [1, {"b": null}]}).to_string();
            let call = format!(r#"{{"name": "{name}", "arguments": {arguments}}} more"#);
            let (found, read, used, is_complete) = all(&call, stretch).unwrap();
            prop_assert_eq!((found, read, used, is_complete), (Some(name), arguments, call.len() - 5, true));
        }
    }
}
