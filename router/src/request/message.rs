//! A conversation as the chat template takes it.

use serde_json::Value;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or `function`; OpenAI's `developer` is read as `system`.
    pub role: String,
    /// Form in which the client sent the content.
    pub form: Form,
    /// Text and pictures of the content, in order.
    pub parts: Vec<Part>,
    /// Further fields of the message (`name`, `tool_calls`, `reasoning_content`, ...), in the client's order.
    pub fields: Vec<Field>,
    /// Positions of `role` and `content` among the message's keys.
    pub positions: KeyPositions,
}

/// The form of a message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// There is no content.
    Absent,
    /// A string, which is the only part.
    Text,
    /// A list of parts.
    Parts,
}

/// A field of a request that only the chat template reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The field's key.
    pub name: String,
    /// The field's value.
    pub value: Value,
    /// Full path of the field in the request: `messages[0].name`.
    pub param: String,
}

/// A part of a message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// The field that the text came from.
        param: String,
    },
    /// The next picture of the request.
    Picture,
}

/// Positions of `role` and `content` among a message's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPositions {
    /// Keys before the role.
    pub role: usize,
    /// Keys before the content.
    pub content: usize,
}

impl Default for KeyPositions {
    fn default() -> Self {
        Self { role: 0, content: 1 }
    }
}
