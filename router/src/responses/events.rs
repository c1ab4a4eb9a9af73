//! The events of a stream: named, and numbered from 0.

use bytes::Bytes;
use serde::Serialize;

use super::items::{Item, Part};
use crate::{reply, request::TokenEntry};

/// Writes the events of one stream.
#[derive(Debug, Default)]
pub struct Events {
    written: u64,
    ready: Vec<Bytes>,
}

/// The place of an event among the items.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Place<'a> {
    /// Id of the item.
    pub item_id: &'a str,
    /// Number of the item, from 0.
    pub output_index: usize,
    /// Number of the part of its content; a call has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_index: Option<usize>,
}

/// An event about a whole item.
#[derive(Debug, Serialize)]
pub struct OfItem<'a> {
    /// Number of the item, from 0.
    pub output_index: usize,
    /// The item as it is at that moment.
    pub item: &'a Item,
}

/// An event about a whole part.
#[derive(Debug, Serialize)]
pub struct OfPart<'a> {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place<'a>,
    /// The part as it is at that moment.
    pub part: &'a Part,
}

/// An event about words that were added.
#[derive(Debug, Serialize)]
pub struct Delta<'a> {
    /// Where they are.
    #[serde(flatten)]
    pub place: Place<'a>,
    /// The words.
    pub delta: &'a str,
    /// Log probabilities of their tokens; only words of a message have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a [TokenEntry]>,
}

/// An event about words, or a call's arguments, of which all are there.
#[derive(Debug, Serialize)]
pub struct Whole<'a> {
    /// Where they are.
    #[serde(flatten)]
    pub place: Place<'a>,
    /// The words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// Log probabilities of their tokens; only words of a message have any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a [TokenEntry]>,
    /// Name of the function that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The call's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
}

#[derive(Serialize)]
struct Numbered<'a, T> {
    r#type: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    event: &'a T,
}

impl Events {
    /// Writes an event of this name.
    pub fn write(&mut self, name: &str, event: &impl Serialize) {
        let numbered = Numbered { r#type: name, sequence_number: self.written, event };
        self.ready.push(reply::event(Some(name), &numbered));
        self.written += 1;
    }

    /// Takes what has been written since the last time.
    pub fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.ready)
    }
}
