//! The format of a message, whole and streamed.

use bytes::Bytes;
use secateur_proto::ServiceError;

use super::{
    error_body::ErrorBody,
    events::{Block, End, Event, Message},
    stream::Blocks,
};
use crate::{
    answer::Piece,
    reply::{self, Call, Content, Format, ReplyId, event},
    request::{FinishReason, Receipt, Usage},
};

/// Writes replies of `/v1/messages`.
pub struct MessageFormat {
    id: String,
    model: String,
    blocks: Blocks,
    /// Why the answer ended, and the stop text that ended it.
    end: (FinishReason, Option<String>),
}

impl MessageFormat {
    /// A reply; the input of tools named in `eager` is streamed while it is written.
    pub fn new(reply: ReplyId, eager: Vec<String>) -> Self {
        let ReplyId { epoch, model, created: _ } = reply;
        Self { id: format!("msg_{epoch}"), model, blocks: Blocks::new(eager), end: (FinishReason::Stop, None) }
    }

    fn message<'a>(&'a self, content: Vec<Block>, end: End<'a>, usage: Usage) -> Message<'a> {
        let (id, model) = (self.id.as_str(), self.model.as_str());
        Message { id, r#type: "message", role: "assistant", model, content, end, usage: usage.into(), secateur: None }
    }
}

impl Format for MessageFormat {
    fn whole(&mut self, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Bytes {
        // A message has one choice: its API asks for no more.
        let content = contents.into_iter().next().unwrap_or_else(|| Content::begin(None));
        let Content { text, reasoning, calls, logprobs: _, finish_reason, stop_text, prompt: _ } = content;
        let mut blocks = Vec::from_iter((!reasoning.is_empty()).then(|| Block::thinking(reasoning)));
        add_words(&mut blocks, text, calls);
        let end = End::of(finish_reason, stop_text.as_deref());
        let message = Message { secateur: Some(&receipt), ..self.message(blocks, end, usage) };
        reply::body(&message)
    }

    fn begun(&mut self, _index: usize, _echo: Option<String>, usage: Usage) -> Vec<Bytes> {
        let message = self.message(Vec::new(), End::default(), usage);
        vec![Event::MessageStart { message }.written()]
    }

    fn piece(&mut self, _index: usize, piece: Piece, _usage: Usage) -> Vec<Bytes> {
        let mut events = Vec::new();
        self.blocks.add(&piece, &mut events);
        if let Some(finish) = piece.finish {
            self.blocks.close(&mut events);
            self.end = (finish, piece.stop_text);
        }
        events
    }

    fn end(&mut self, usage: Usage, receipt: Receipt) -> Vec<Bytes> {
        let (reason, stop_text) = &self.end;
        let delta = End::of(*reason, stop_text.as_deref());
        let end = Event::MessageDelta { delta, usage: usage.into(), secateur: &receipt };
        vec![end.written(), Event::MessageStop.written()]
    }

    fn failed(&mut self, failure: &ServiceError) -> Vec<Bytes> {
        vec![event(Some("error"), &ErrorBody::new(failure, None))]
    }
}

/// Adds text and calls in the order in which the model wrote them.
fn add_words(blocks: &mut Vec<Block>, mut text: String, calls: Vec<Call>) {
    let mut said = 0;
    for call in calls {
        let rest = text.split_off((call.before.text.saturating_sub(said)).min(text.len()));
        let before = std::mem::replace(&mut text, rest);
        said += before.len();
        blocks.extend((!before.is_empty()).then_some(Block::Text { text: before }));
        blocks.push(Block::call(call));
    }
    blocks.extend((!text.is_empty()).then_some(Block::Text { text }));
}

#[cfg(test)]
mod tests;
