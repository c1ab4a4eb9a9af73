//! Writes a response, whole or as a stream. Both are made by [`Output`], so the response that a stream ends with is the
//! one that would have been sent whole.

use std::time::Instant;

use bytes::Bytes;
use secateur_proto::ServiceError;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{events::Events, object::ResponseObject, output::Output};
use crate::{
    answer::Piece,
    reply::{self, Content, Format, ReplyId},
    request::{Receipt, TokenEntry, Usage},
};

/// Writes one response.
pub struct ResponseFormat {
    reply: ReplyId,
    /// What of the request is repeated.
    asked: Map<String, Value>,
    began: Instant,
    output: Output,
    events: Events,
}

/// An event about the response.
#[derive(Serialize)]
struct OfResponse<'a> {
    response: &'a ResponseObject<'a>,
}

/// The event of an error.
#[derive(Serialize)]
struct OfError<'a> {
    code: &'static str,
    message: &'a str,
    param: Option<&'a str>,
}

impl ResponseFormat {
    /// A writer of the response `reply` to a request that asked for this.
    pub fn new(reply: ReplyId, asked: Map<String, Value>) -> Self {
        let output = Output::new(reply.epoch.clone());
        Self { reply, asked, began: Instant::now(), output, events: Events::default() }
    }

    fn object(&self) -> ResponseObject<'_> {
        ResponseObject::new(&self.reply, &self.asked, self.output.items(), self.output.status())
    }

    fn ended<'a>(&'a self, usage: Usage, receipt: &'a Receipt) -> ResponseObject<'a> {
        self.object().ended(self.reply.created + self.began.elapsed().as_secs(), usage, receipt)
    }
}

impl Format for ResponseFormat {
    fn whole(&mut self, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Bytes {
        for content in contents.into_iter().take(1) {
            retell(content, &mut self.output, &mut self.events);
        }
        self.events.take();
        reply::body(&self.ended(usage, &receipt))
    }

    fn begun(&mut self, _index: usize, _echo: Option<String>, _usage: Usage) -> Vec<Bytes> {
        let response = ResponseObject::new(&self.reply, &self.asked, self.output.items(), self.output.status());
        for name in ["response.created", "response.in_progress"] {
            self.events.write(name, &OfResponse { response: &response });
        }
        self.events.take()
    }

    fn piece(&mut self, _index: usize, piece: Piece, _usage: Usage) -> Vec<Bytes> {
        self.output.add(piece, &mut self.events);
        self.events.take()
    }

    fn end(&mut self, usage: Usage, receipt: Receipt) -> Vec<Bytes> {
        let mut events = std::mem::take(&mut self.events);
        let response = self.ended(usage, &receipt);
        let name = if response.is_cut() { "response.incomplete" } else { "response.completed" };
        events.write(name, &OfResponse { response: &response });
        events.take()
    }

    fn failed(&mut self, failure: &ServiceError) -> Vec<Bytes> {
        let mut events = std::mem::take(&mut self.events);
        self.output.break_off();
        let (code, message) = (failure.code.as_str(), &*failure.message);
        events.write("error", &OfError { code, message, param: failure.param.as_deref() });
        let response = self.object().failed(failure);
        events.write("response.failed", &OfResponse { response: &response });
        events.take()
    }
}

/// Tells an answer again as it was told: its words and its calls in their order.
fn retell(content: Content, output: &mut Output, events: &mut Events) {
    let Content { text, reasoning, calls, logprobs, finish_reason, .. } = content;
    let mut scores = logprobs.map(Vec::into_iter);
    let (mut said, mut scored) = (0, 0);
    let mut words = |to: usize, scored_to: usize| {
        let words = text.get(said..to).unwrap_or_default().to_owned();
        let entries = scores.as_mut().map(|scores| scores.by_ref().take(scored_to.saturating_sub(scored)).collect());
        (said, scored) = (to, scored_to);
        (words, entries)
    };
    let piece = |reasoning, (text, logprobs): (String, Option<Vec<TokenEntry>>), finish| Piece {
        text,
        reasoning,
        logprobs,
        finish,
        ..Piece::default()
    };
    output.add(piece(reasoning, Default::default(), None), events);
    for call in calls {
        output.add(piece(String::new(), words(call.before.text, call.before.scored), None), events);
        output.begin_call(call.id, call.name, events);
        output.argue(&call.arguments, events);
    }
    output.add(piece(String::new(), words(text.len(), usize::MAX), Some(finish_reason)), events);
}

#[cfg(test)]
mod tests;
