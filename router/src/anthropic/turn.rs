//! One message of OpenAI's that is being put together, and where its parts come from.

use serde_json::{Map, Value, json};

use crate::request::Origins;

/// What stands between the texts of two messages that become one.
const BETWEEN_MESSAGES: &str = "\n";

/// A message of OpenAI's, before it has a number.
#[derive(Debug)]
pub struct Turn {
    role: Role,
    /// Path of what it comes from.
    path: String,
    parts: Vec<Part>,
    /// Thoughts of an assistant.
    thoughts: Vec<Text>,
    calls: Vec<Call>,
    /// The call that a result belongs to.
    call_id: Option<Text>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator's instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool that was called, which Anthropic's API makes a part of the user's message.
    Tool,
}

/// A part of a message.
#[derive(Debug)]
pub enum Part {
    /// A text.
    Text(Text),
    /// A picture, whose source is at `path` and has its bytes or its address in `key`.
    Picture { url: String, path: String, key: &'static str },
}

/// A text and its path.
#[derive(Debug)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The field that it comes from.
    pub path: String,
}

/// A call of a tool.
#[derive(Debug)]
pub struct Call {
    /// The call as an entry of OpenAI's `tool_calls`.
    pub value: Value,
    /// Path of its input.
    pub path: String,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

impl Turn {
    /// A message of `role` that has nothing in it, from what is at `path`.
    pub fn new(role: Role, path: impl Into<String>) -> Self {
        let (parts, thoughts, calls) = (Vec::new(), Vec::new(), Vec::new());
        Self { role, path: path.into(), parts, thoughts, calls, call_id: None }
    }

    /// The result of a call.
    pub fn result(path: impl Into<String>, call_id: Text, parts: Vec<Part>) -> Self {
        Self { parts, call_id: Some(call_id), ..Self::new(Role::Tool, path) }
    }

    /// Who speaks.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Path of what the message comes from.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds a part.
    pub fn say(&mut self, part: Part) {
        self.parts.push(part);
    }

    /// Adds a thought.
    pub fn think(&mut self, thought: Text) {
        self.thoughts.push(thought);
    }

    /// Adds a call.
    pub fn call(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Whether the message calls a tool.
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether the message says anything.
    pub fn has_words(&self) -> bool {
        self.parts.iter().any(|part| !matches!(part, Part::Text(text) if text.text.is_empty()))
    }

    /// Whether there is nothing in the message, not even an empty text.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && !self.has_thoughts() && !self.has_calls()
    }

    /// Whether the message has thoughts.
    pub fn has_thoughts(&self) -> bool {
        !self.thoughts.is_empty()
    }

    /// Whether `other`, which follows, becomes a part of this message.
    pub fn takes(&self, other: &Turn) -> bool {
        self.role == other.role && self.role != Role::Tool
    }

    /// Adds the message that follows, of the same role. Texts of the two stay apart by a line break.
    pub fn append(&mut self, mut other: Turn) {
        if let (true, Some(Part::Text(first))) = (self.has_words(), other.parts.first_mut()) {
            first.text.insert_str(0, BETWEEN_MESSAGES);
        }
        self.parts.append(&mut other.parts);
        self.thoughts.append(&mut other.thoughts);
        self.calls.append(&mut other.calls);
    }

    /// The message as number `index` of OpenAI's `messages`; records where its fields come from.
    pub fn into_message(self, index: usize, origins: &mut Origins) -> Value {
        let at = format!("messages[{index}]");
        let mut names = Names { at: &at, path: &self.path, origins };
        names.record("", &self.path);
        let mut message = Map::new();
        message.insert("role".to_owned(), self.role.as_str().into());
        message.insert("content".to_owned(), content(self.role, self.parts, &mut names));
        if let Some(first) = self.thoughts.first() {
            names.record(".reasoning_content", &first.path);
            let thoughts: String = self.thoughts.iter().map(|thought| thought.text.as_str()).collect();
            message.insert("reasoning_content".to_owned(), thoughts.into());
        }
        if let Some(first) = self.calls.first() {
            // The template's errors name the list as a whole.
            names.record(".tool_calls", &first.path);
            let calls = self.calls.into_iter().map(|call| call.value).collect();
            message.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        if let Some(id) = self.call_id {
            names.record(".tool_call_id", &id.path);
            message.insert("tool_call_id".to_owned(), id.text.into());
        }
        message.into()
    }
}

/// The names of one message: in the translated body and in the client's.
struct Names<'a> {
    at: &'a str,
    path: &'a str,
    origins: &'a mut Origins,
}

impl Names<'_> {
    /// Records the path of what stands at `below` in the translated message, unless it has that name in both.
    fn record(&mut self, below: &str, original: &str) {
        let translated = format!("{}{below}", self.at);
        let is_known = match below {
            "" => translated == original,
            _ => original.strip_prefix(self.path) == Some(below),
        };
        if !is_known {
            self.origins.record(translated, original);
        }
    }
}

/// The content: a string where it is one text, nothing where an assistant only calls, and parts otherwise.
fn content(role: Role, mut parts: Vec<Part>, names: &mut Names<'_>) -> Value {
    match (parts.pop(), parts.is_empty()) {
        (None, _) if role == Role::Assistant => Value::Null,
        (None, _) => "".into(),
        (Some(Part::Text(only)), true) => {
            names.record(".content", &only.path);
            only.text.into()
        }
        (Some(last), _) => {
            parts.push(last);
            let numbered = parts.into_iter().enumerate();
            numbered.map(|(number, part)| content_part(number, part, names)).collect()
        }
    }
}

fn content_part(number: usize, part: Part, names: &mut Names<'_>) -> Value {
    match part {
        Part::Text(Text { text, path }) => {
            names.record(&format!(".content[{number}].text"), &path);
            json!({"type": "text", "text": text})
        }
        Part::Picture { url, path, key } => {
            names.record(&format!(".content[{number}].image_url"), &path);
            names.record(&format!(".content[{number}].image_url.url"), &format!("{path}.{key}"));
            json!({"type": "image_url", "image_url": {"url": url}})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str, path: &str) -> Part {
        Part::Text(Text { text: text.into(), path: path.into() })
    }

    #[test]
    fn one_text_is_a_string_and_keeps_its_path() {
        let mut origins = Origins::default();
        let mut turn = Turn::new(Role::User, "messages[0]");
        turn.say(text("hi", "messages[0].content[0].text"));
        assert_eq!(turn.into_message(1, &mut origins), json!({"role": "user", "content": "hi"}));
        assert_eq!(origins.path("messages[1].content"), "messages[0].content[0].text");
        assert_eq!(origins.path("messages[1].role"), "messages[0].role");
    }

    #[test]
    fn what_has_the_same_name_is_not_recorded() {
        let mut origins = Origins::default();
        let mut turn = Turn::new(Role::User, "messages[0]");
        turn.say(text("a", "messages[0].content[0].text"));
        turn.say(text("b", "messages[0].content[1].text"));
        turn.into_message(0, &mut origins);
        assert_eq!(origins, Origins::default());
    }

    #[test]
    fn messages_of_one_role_become_one() {
        let mut origins = Origins::default();
        let mut turn = Turn::new(Role::User, "messages[0]");
        turn.say(text("a", "messages[0].content"));
        let mut next = Turn::new(Role::User, "messages[1]");
        next.say(text("b", "messages[1].content"));
        assert!(turn.takes(&next));
        turn.append(next);
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "\nb"}]);
        assert_eq!(turn.into_message(0, &mut origins)["content"], parts);
        assert_eq!(origins.path("messages[0].content[1].text"), "messages[1].content");
        let id = || Text { text: "c".into(), path: "messages[0].content[0].tool_use_id".into() };
        let result = || Turn::result("messages[0]", id(), vec![]);
        assert!(!result().takes(&result()));
    }
}
