//! The conversation: `system` and `messages` as OpenAI's `messages`.
//!
//! Results of tools, which stand in the user's messages here, are messages of their own there. Messages of one role
//! that follow each other become one, as in Anthropic's API. A last message of the assistant begins the answer.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    blocks::{self, Content},
    turn::{Part, Role, Text, Turn},
};
use crate::openai::fields::{Fields, invalid};

/// The messages of OpenAI's that `fields` become.
pub fn parse(fields: &Fields) -> Result<Turns, ServiceError> {
    let values = fields.list("messages")?.ok_or_else(|| fields.invalid("messages", "is required"))?;
    if values.is_empty() {
        return Err(fields.invalid("messages", "must not be empty"));
    }
    let mut turns = Turns(Vec::new());
    turns.add(system(fields)?);
    let last = values.len() - 1;
    for (index, value) in values.iter().enumerate() {
        let path = format!("messages[{index}]");
        let message = Fields::of(value, path.clone())?;
        turns.message(&message, path, index == last)?;
    }
    turns.check_last()?;
    Ok(turns)
}

/// The messages so far.
pub struct Turns(Vec<Turn>);

impl Turns {
    /// Whether the answer goes on where the last message ends.
    pub fn is_begun(&self) -> bool {
        self.0.last().is_some_and(|turn| turn.role() == Role::Assistant)
    }

    /// The messages.
    pub fn into_turns(self) -> Vec<Turn> {
        self.0
    }

    /// Adds a message, unless nothing is in it.
    fn add(&mut self, turn: Turn) {
        match self.0.last_mut() {
            _ if turn.is_empty() && turn.role() != Role::Tool => {}
            Some(before) if before.takes(&turn) => before.append(turn),
            _ => self.0.push(turn),
        }
    }

    fn message(&mut self, message: &Fields, path: String, is_last: bool) -> Result<(), ServiceError> {
        let role = message.text("role")?.ok_or_else(|| message.invalid("role", "is required"))?;
        let content = blocks::content(message)?.ok_or_else(|| message.invalid("content", "is required"))?;
        // As in Anthropic's API, an answer alone may begin with nothing.
        let may_be_empty = is_last && role == "assistant";
        if !may_be_empty && matches!(&content, Content::Blocks(blocks) if blocks.is_empty()) {
            return Err(message.invalid("content", "must not be empty"));
        }
        match role {
            "user" => self.user(path, content)?,
            "assistant" => self.assistant(path, content, is_last)?,
            "system" => {
                let mut turn = Turn::new(Role::System, path);
                texts(&mut turn, content)?;
                self.add(turn);
            }
            _ => return Err(message.invalid("role", "must be user, assistant or system")),
        }
        Ok(())
    }

    /// A user's message: each result of a tool becomes a message of its own, and so does what stands between them.
    fn user(&mut self, path: String, content: Content) -> Result<(), ServiceError> {
        let empty = || Turn::new(Role::User, path.clone());
        let mut turn = empty();
        match content {
            Content::Text(text) => turn.say(Part::Text(text)),
            Content::Blocks(blocks) => {
                for block in &blocks {
                    match blocks::kind(block)? {
                        "text" => turn.say(Part::Text(blocks::text(block)?)),
                        "image" => turn.say(blocks::image(block)?),
                        "tool_result" => {
                            let (id, parts) = blocks::tool_result(block)?;
                            self.add(std::mem::replace(&mut turn, empty()));
                            self.add(Turn::result(path.clone(), id, parts));
                        }
                        other => return Err(blocks::misplaced(block, other, "text, image or tool_result")),
                    }
                }
            }
        }
        self.add(turn);
        Ok(())
    }

    fn assistant(&mut self, path: String, content: Content, is_last: bool) -> Result<(), ServiceError> {
        let mut turn = Turn::new(Role::Assistant, path);
        match content {
            Content::Text(text) => turn.say(Part::Text(text)),
            Content::Blocks(blocks) => {
                for block in &blocks {
                    match blocks::kind(block)? {
                        "text" => turn.say(Part::Text(blocks::text(block)?)),
                        "thinking" => turn.think(blocks::thinking(block)?),
                        // Nobody but its author can read it.
                        "redacted_thinking" => {}
                        "tool_use" => turn.call(blocks::tool_use(block)?),
                        other => return Err(blocks::misplaced(block, other, "text, thinking or tool_use")),
                    }
                }
            }
        }
        let begins_with_nothing = is_last && !(turn.has_words() || turn.has_thoughts() || turn.has_calls());
        if !begins_with_nothing {
            self.add(turn);
        }
        Ok(())
    }

    /// Refuses a beginning of the answer that nothing can be added to.
    fn check_last(&self) -> Result<(), ServiceError> {
        let Some(last) = self.0.last().filter(|turn| turn.role() == Role::Assistant) else { return Ok(()) };
        let refused = |rule: &str| {
            let path = format!("{}.content", last.path());
            Err(invalid(path.clone(), format!("{path} {rule}")))
        };
        if last.has_calls() {
            return refused("calls a tool and is the last message; send the tool_result too");
        }
        if last.has_words() { Ok(()) } else { refused("begins the answer, and needs a text to go on from") }
    }
}

/// The message of `system`; one without words counts as none.
fn system(fields: &Fields) -> Result<Turn, ServiceError> {
    let mut turn = Turn::new(Role::System, "system");
    match fields.get("system") {
        None => {}
        Some(Value::String(text)) => turn.say(Part::Text(Text { text: text.clone(), path: "system".into() })),
        Some(Value::Array(values)) => {
            let block = |(index, value)| Fields::of(value, format!("system[{index}]"));
            texts(&mut turn, Content::Blocks(values.iter().enumerate().map(block).collect::<Result<_, _>>()?))?;
        }
        Some(_) => return Err(fields.invalid("system", "must be a string or a list of text blocks")),
    }
    Ok(if turn.has_words() { turn } else { Turn::new(Role::System, "system") })
}

/// Adds content that may hold texts alone.
fn texts(turn: &mut Turn, content: Content) -> Result<(), ServiceError> {
    match content {
        Content::Text(text) => turn.say(Part::Text(text)),
        Content::Blocks(blocks) => {
            for block in &blocks {
                match blocks::kind(block)? {
                    "text" => turn.say(Part::Text(blocks::text(block)?)),
                    other => return Err(blocks::misplaced(block, other, "text")),
                }
            }
        }
    }
    Ok(())
}
