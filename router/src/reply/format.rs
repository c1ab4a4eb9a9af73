//! What an API's format has to write.

use bytes::Bytes;
use secateur_proto::ServiceError;
use serde::Serialize;

use super::Content;
use crate::{
    answer::Piece,
    request::{Receipt, Usage},
};

/// What every reply is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyId {
    /// Epoch of the request's first answer; an API's prefix before it makes the reply's id.
    pub epoch: String,
    /// Time of the reply in Unix seconds.
    pub created: u64,
    /// Name under which the model is served.
    pub model: String,
}

/// Writes one reply, whole or as server-sent events. Choices are numbered from 0; `usage` is that of the whole request
/// so far.
pub trait Format: Send + 'static {
    /// The body of a reply that is not streamed, made by [`body`].
    fn whole(&mut self, contents: Vec<Content>, usage: Usage, receipt: Receipt) -> Bytes;

    /// The events of a choice that has begun; `echo` is the prompt that is returned before its answer.
    fn begun(&mut self, index: usize, echo: Option<String>, usage: Usage) -> Vec<Bytes>;

    /// The events of a choice's next piece. The last piece of a choice has a reason why it ended.
    fn piece(&mut self, index: usize, piece: Piece, usage: Usage) -> Vec<Bytes>;

    /// The events that end the stream, after the last piece of every choice.
    fn end(&mut self, usage: Usage, receipt: Receipt) -> Vec<Bytes>;

    /// The events of a failure in the stream, whose HTTP status has already been sent. Nothing follows them.
    fn failed(&mut self, failure: &ServiceError) -> Vec<Bytes>;
}

/// The JSON of a reply that is not streamed. It is written as that of events is, and not by way of a
/// [`Value`](serde_json::Value), which widens numbers of 32 bits: `-33.679253` would be `-33.67925262451172` here alone.
pub fn body(reply: &impl Serialize) -> Bytes {
    // Plain structs with string keys: writing them to memory does not fail.
    let written = serde_json::to_vec(reply);
    debug_assert!(written.is_ok());
    written.unwrap_or_default().into()
}

/// Bytes that most events need; a longer one grows.
const EVENT_BYTES: usize = 384;

/// A server-sent event, named if `name` is given, whose data is `data` as JSON.
pub fn event(name: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut event = Vec::with_capacity(EVENT_BYTES);
    if let Some(name) = name {
        event.extend_from_slice(b"event: ");
        event.extend_from_slice(name.as_bytes());
        event.push(b'\n');
    }
    event.extend_from_slice(b"data: ");
    // Plain structs with string keys: writing them to memory does not fail.
    let written = serde_json::to_writer(&mut event, data);
    debug_assert!(written.is_ok());
    event.extend_from_slice(b"\n\n");
    event.into()
}
