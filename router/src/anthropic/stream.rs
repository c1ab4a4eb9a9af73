//! The blocks of a streamed message: which one is open, and when the next one begins.
//!
//! A client that joins the parts of a tool's input expects JSON, and what a model writes by itself may be none. So an
//! input is held until it is complete, and sent as what the whole reply would have; only for a tool with
//! `eager_input_streaming` it is sent as the model writes it. While one is held, pings show that the answer grows.

use bytes::Bytes;
use serde_json::Map;

use super::events::{Block, Delta, Event, input, tool_use_id};
use crate::{answer::Piece, reply::Call, tools::CallPart};

/// Parts of an input that are held between two pings.
const PARTS_A_PING: usize = 32;

/// The blocks of one message.
#[derive(Debug)]
pub struct Blocks {
    /// Names of the tools whose input is sent as the model writes it.
    eager: Vec<String>,
    /// Number of the next block.
    next: usize,
    open: Option<Open>,
}

/// The block that is open: the last one.
#[derive(Debug)]
enum Open {
    Thinking,
    Text,
    /// A call, by its number among the answer's calls.
    Call(usize, Input),
}

/// What becomes of a call's input.
#[derive(Debug)]
enum Input {
    Sent,
    Held { arguments: String, parts: usize },
}

impl Blocks {
    /// The blocks of a message that has just begun.
    pub fn new(eager: Vec<String>) -> Self {
        Self { eager, next: 0, open: None }
    }

    /// Adds a piece: the rest of the open call, thoughts, text, and further calls.
    pub fn add(&mut self, piece: &Piece, events: &mut Vec<Bytes>) {
        let goes_on = piece.calls.iter().take_while(|part| part.name.is_none()).count();
        let (rest, further) = piece.calls.split_at(goes_on);
        rest.iter().for_each(|part| self.argue(part, events));
        self.think(&piece.reasoning, events);
        self.say(&piece.text, events);
        for part in further {
            if let Some(name) = &part.name {
                self.call(part.index, name, events);
            }
            self.argue(part, events);
        }
    }

    /// Closes the open block.
    pub fn close(&mut self, events: &mut Vec<Bytes>) {
        let Some(open) = self.open.take() else { return };
        let index = self.last();
        if let Open::Call(_, Input::Held { arguments, .. }) = open {
            let json = input(&arguments).to_string();
            events.push(Event::ContentBlockDelta { index, delta: Delta::InputJson { partial_json: &json } }.written());
        }
        events.push(Event::ContentBlockStop { index }.written());
    }

    fn think(&mut self, thinking: &str, events: &mut Vec<Bytes>) {
        if thinking.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Thinking)) {
            self.begin(Open::Thinking, Block::thinking(String::new()), events);
        }
        self.grow(Delta::Thinking { thinking }, events);
    }

    fn say(&mut self, text: &str, events: &mut Vec<Bytes>) {
        if text.is_empty() {
            return;
        }
        if !matches!(self.open, Some(Open::Text)) {
            self.begin(Open::Text, Block::Text { text: String::new() }, events);
        }
        self.grow(Delta::Text { text }, events);
    }

    fn call(&mut self, number: usize, name: &str, events: &mut Vec<Bytes>) {
        let is_eager = self.eager.iter().any(|eager| eager == name);
        let input = if is_eager { Input::Sent } else { Input::Held { arguments: String::new(), parts: 0 } };
        let block =
            Block::ToolUse { id: tool_use_id(&Call::new_id()), name: name.to_owned(), input: Map::new().into() };
        self.begin(Open::Call(number, input), block, events);
    }

    /// Adds to the input of the open call. A call's parts come before everything that follows the call.
    fn argue(&mut self, part: &CallPart, events: &mut Vec<Bytes>) {
        match &mut self.open {
            _ if part.arguments.is_empty() => {}
            Some(Open::Call(number, Input::Sent)) if *number == part.index => {
                self.grow(Delta::InputJson { partial_json: &part.arguments }, events);
            }
            Some(Open::Call(number, Input::Held { arguments, parts })) if *number == part.index => {
                arguments.push_str(&part.arguments);
                *parts += 1;
                if parts.is_multiple_of(PARTS_A_PING) {
                    events.push(Event::Ping.written());
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, open: Open, content_block: Block, events: &mut Vec<Bytes>) {
        self.close(events);
        events.push(Event::ContentBlockStart { index: self.next, content_block }.written());
        self.next += 1;
        self.open = Some(open);
    }

    fn grow(&self, delta: Delta<'_>, events: &mut Vec<Bytes>) {
        events.push(Event::ContentBlockDelta { index: self.last(), delta }.written());
    }

    /// Number of the block that began last.
    fn last(&self) -> usize {
        self.next.saturating_sub(1)
    }
}
