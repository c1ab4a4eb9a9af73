//! The output of a response while it grows: pieces of an answer become items, one after the other, and events say so.
//!
//! White space before the first word is held back: if a call follows instead of a word, it was no message.

use super::{
    events::{Delta, Events, OfItem, OfPart, Place, Whole},
    items::{Item, Part, Status},
};
use crate::{
    answer::Piece,
    reply::Call,
    request::{FinishReason, TokenEntry},
    tools::CallPart,
};

/// The items of an answer so far.
#[derive(Debug)]
pub struct Output {
    /// What ids of items end with, before their number.
    epoch: String,
    items: Vec<Item>,
    /// Whether the last item goes on.
    is_open: bool,
    /// White space that no word has followed, and the log probabilities that belong to no item so far.
    held: (String, Vec<TokenEntry>),
    finish: Option<FinishReason>,
}

impl Output {
    /// The output of an answer that has just begun.
    pub fn new(epoch: String) -> Self {
        Self { epoch, items: Vec::new(), is_open: false, held: Default::default(), finish: None }
    }

    /// The items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How far the answer has come.
    pub fn status(&self) -> Status {
        match self.finish {
            None => Status::InProgress,
            Some(FinishReason::Length) => Status::Incomplete,
            Some(FinishReason::Stop | FinishReason::ToolCalls) => Status::Completed,
        }
    }

    /// Adds the next piece. What the open call still lacks stands before the piece's words, and they before its calls.
    pub fn add(&mut self, piece: Piece, events: &mut Events) {
        let Piece { text, reasoning, calls, logprobs, finish, .. } = piece;
        if !reasoning.is_empty() {
            self.think(&reasoning, events);
        }
        let begun = calls.iter().position(|part| part.name.is_some()).unwrap_or(calls.len());
        let (rest, new) = calls.split_at(begun);
        rest.iter().for_each(|part| self.call(part, events));
        self.say(&text, logprobs.unwrap_or_default(), events);
        new.iter().for_each(|part| self.call(part, events));
        if let Some(finish) = finish {
            self.end(finish, events);
        }
    }

    /// Begins a call.
    pub fn begin_call(&mut self, call_id: String, name: String, events: &mut Events) {
        self.close(Status::Completed, events);
        let item = Item::call(self.id("fc"), call_id, name);
        self.open(item, None, events);
    }

    /// Adds to the arguments of the open call.
    pub fn argue(&mut self, delta: &str, events: &mut Events) {
        let (output_index, is_open) = (self.last(), self.is_open);
        if let Some(Item::FunctionCall { id, arguments, .. }) = self.items.last_mut().filter(|_| is_open)
            && !delta.is_empty()
        {
            arguments.push_str(delta);
            let place = Place { item_id: id, output_index, content_index: None };
            events.write("response.function_call_arguments.delta", &Delta { place, delta, logprobs: None });
        }
    }

    /// Breaks the answer off.
    pub fn break_off(&mut self) {
        if let Some(last) = self.items.last_mut().filter(|_| self.is_open) {
            last.set_status(Status::Incomplete);
        }
        self.is_open = false;
    }

    fn think(&mut self, delta: &str, events: &mut Events) {
        if !self.is_open || !matches!(self.items.last(), Some(Item::Reasoning { .. })) {
            self.close(Status::Completed, events);
            let item = Item::reasoning(self.id("rs"));
            self.open(item, Some(Part::ReasoningText { text: String::new() }), events);
        }
        let output_index = self.last();
        if let Some(Item::Reasoning { id, content, .. }) = self.items.last_mut()
            && let Some(Part::ReasoningText { text }) = content.first_mut()
        {
            text.push_str(delta);
            let place = Place { item_id: id, output_index, content_index: Some(0) };
            events.write("response.reasoning_text.delta", &Delta { place, delta, logprobs: None });
        }
    }

    fn say(&mut self, delta: &str, scores: Vec<TokenEntry>, events: &mut Events) {
        if delta.is_empty() && scores.is_empty() {
            return;
        }
        if self.is_open && matches!(self.items.last(), Some(Item::Message { .. })) {
            self.speak(delta, scores, events);
            return;
        }
        self.held.0.push_str(delta);
        self.held.1.extend(scores);
        if !self.held.0.trim().is_empty() {
            self.begin_message(events);
        }
    }

    /// Begins a message with what was held back.
    fn begin_message(&mut self, events: &mut Events) {
        self.close(Status::Completed, events);
        let item = Item::message(self.id("msg"));
        let part = Part::OutputText { text: String::new(), annotations: [], logprobs: Vec::new() };
        self.open(item, Some(part), events);
        let (text, scores) = std::mem::take(&mut self.held);
        if !text.is_empty() || !scores.is_empty() {
            self.speak(&text, scores, events);
        }
    }

    fn speak(&mut self, delta: &str, scores: Vec<TokenEntry>, events: &mut Events) {
        let output_index = self.last();
        if let Some(Item::Message { id, content, .. }) = self.items.last_mut()
            && let Some(Part::OutputText { text, logprobs, .. }) = content.first_mut()
        {
            let place = Place { item_id: id, output_index, content_index: Some(0) };
            events.write("response.output_text.delta", &Delta { place, delta, logprobs: Some(&scores) });
            text.push_str(delta);
            logprobs.extend(scores);
        }
    }

    fn call(&mut self, part: &CallPart, events: &mut Events) {
        if let Some(name) = &part.name {
            self.begin_call(Call::new_id(), name.clone(), events);
        }
        self.argue(&part.arguments, events);
    }

    /// Ends the answer. One that holds nothing else holds a message, unless it was cut off while the model thought.
    fn end(&mut self, finish: FinishReason, events: &mut Events) {
        let is_cut = finish == FinishReason::Length;
        let has_answer = self.items.iter().any(|item| !matches!(item, Item::Reasoning { .. }));
        let is_cut_in_thought = is_cut && !self.items.is_empty() && self.held.0.is_empty();
        if !has_answer && !is_cut_in_thought {
            self.begin_message(events);
        }
        self.close(if is_cut { Status::Incomplete } else { Status::Completed }, events);
        self.finish = Some(finish);
    }

    fn open(&mut self, item: Item, part: Option<Part>, events: &mut Events) {
        let output_index = self.items.len();
        events.write("response.output_item.added", &OfItem { output_index, item: &item });
        if let Some(part) = &part {
            let place = Place { item_id: item.id(), output_index, content_index: Some(0) };
            events.write("response.content_part.added", &OfPart { place, part });
        }
        self.items.push(item);
        self.is_open = true;
        if let Some(content) = self.items.last_mut().and_then(Item::content_mut) {
            content.extend(part);
        }
    }

    /// Closes the open item, if there is one.
    fn close(&mut self, status: Status, events: &mut Events) {
        let output_index = self.last();
        let Some(item) = self.items.last_mut().filter(|_| self.is_open) else { return };
        self.is_open = false;
        item.set_status(status);
        let content_index = item.part().map(|_| 0);
        let place = Place { item_id: item.id(), output_index, content_index };
        let nothing = Whole { place, text: None, logprobs: None, name: None, arguments: None };
        match (&*item, item.part()) {
            (Item::FunctionCall { name, arguments, .. }, _) => {
                let whole = Whole { name: Some(name), arguments: Some(arguments), ..nothing };
                events.write("response.function_call_arguments.done", &whole);
            }
            (_, Some(Part::ReasoningText { text })) => {
                events.write("response.reasoning_text.done", &Whole { text: Some(text), ..nothing });
            }
            (_, Some(Part::OutputText { text, logprobs, .. })) => {
                let whole = Whole { text: Some(text), logprobs: Some(logprobs), ..nothing };
                events.write("response.output_text.done", &whole);
            }
            (_, None) => {}
        }
        if let Some(part) = item.part() {
            events.write("response.content_part.done", &OfPart { place, part });
        }
        events.write("response.output_item.done", &OfItem { output_index, item });
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.epoch, self.items.len())
    }

    fn last(&self) -> usize {
        self.items.len().saturating_sub(1)
    }
}
