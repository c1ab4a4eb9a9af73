//! The items of a response's output.

use serde::Serialize;

use crate::request::TokenEntry;

/// How far an item, or a response, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// More of it follows.
    InProgress,
    /// All of it is there.
    Completed,
    /// It was cut off.
    Incomplete,
    /// It broke off.
    Failed,
}

/// An item of the output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// What the model thought.
    Reasoning {
        /// Id of the item.
        id: String,
        /// How far it has come.
        status: Status,
        /// Always empty: the reasoning itself is the content.
        summary: [(); 0],
        /// One part, once there are words.
        content: Vec<Part>,
        /// Always null: nothing is encrypted.
        encrypted_content: Option<()>,
    },
    /// What the model said.
    Message {
        /// Id of the item.
        id: String,
        /// How far it has come.
        status: Status,
        /// `assistant`.
        role: &'static str,
        /// One part, once there are words.
        content: Vec<Part>,
    },
    /// A function that the model called.
    FunctionCall {
        /// Id of the item.
        id: String,
        /// How far it has come.
        status: Status,
        /// Id of the call, by which its result refers to it.
        call_id: String,
        /// Name of the function.
        name: String,
        /// The arguments as JSON, as the model wrote it.
        arguments: String,
    },
}

/// A part of an item's content.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Words of a message.
    OutputText {
        /// The words.
        text: String,
        /// Always empty: nothing is cited.
        annotations: [(); 0],
        /// Log probabilities of the tokens, if they were asked for.
        logprobs: Vec<TokenEntry>,
    },
    /// Words of reasoning.
    ReasoningText {
        /// The words.
        text: String,
    },
}

impl Item {
    /// Reasoning that has just begun.
    pub fn reasoning(id: String) -> Self {
        let status = Status::InProgress;
        Item::Reasoning { id, status, summary: [], content: Vec::new(), encrypted_content: None }
    }

    /// A message that has just begun.
    pub fn message(id: String) -> Self {
        Item::Message { id, status: Status::InProgress, role: "assistant", content: Vec::new() }
    }

    /// A call that has just begun.
    pub fn call(id: String, call_id: String, name: String) -> Self {
        Item::FunctionCall { id, status: Status::InProgress, call_id, name, arguments: String::new() }
    }

    /// Id of the item.
    pub fn id(&self) -> &str {
        match self {
            Item::Reasoning { id, .. } | Item::Message { id, .. } | Item::FunctionCall { id, .. } => id,
        }
    }

    /// The item's only part of content; none in a call, nor before there are words.
    pub fn part(&self) -> Option<&Part> {
        match self {
            Item::Reasoning { content, .. } | Item::Message { content, .. } => content.first(),
            Item::FunctionCall { .. } => None,
        }
    }

    /// The item's content, which a call has none of.
    pub fn content_mut(&mut self) -> Option<&mut Vec<Part>> {
        match self {
            Item::Reasoning { content, .. } | Item::Message { content, .. } => Some(content),
            Item::FunctionCall { .. } => None,
        }
    }

    /// Sets how far the item has come.
    pub fn set_status(&mut self, new: Status) {
        match self {
            Item::Reasoning { status, .. } | Item::Message { status, .. } | Item::FunctionCall { status, .. } => {
                *status = new;
            }
        }
    }
}
