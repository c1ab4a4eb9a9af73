//! The content of one choice, gathered from its pieces.

use crate::{
    answer::Piece,
    request::{FinishReason, TokenEntry},
    tools::CallPart,
};

/// The content of one choice.
#[derive(Debug)]
pub struct Content {
    /// The answer.
    pub text: String,
    /// What the model thought before it answered; empty if it did not.
    pub reasoning: String,
    /// The calls that the answer makes.
    pub calls: Vec<Call>,
    /// Log probabilities; `None` if they were not requested.
    pub logprobs: Option<Vec<TokenEntry>>,
    /// Why the answer ended.
    pub finish_reason: FinishReason,
    /// The stop text that ended the answer, if one did.
    pub stop_text: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Id of the call, unique among all calls.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// The arguments as JSON, as the model wrote it.
    pub arguments: String,
    /// What of the answer stands before the call.
    pub before: Before,
}

/// What of an answer stands before a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Bytes of the answer's text.
    pub text: usize,
    /// Tokens whose log probabilities were reported.
    pub scored: usize,
}

impl Call {
    /// A new id for a call.
    pub fn new_id() -> String {
        format!("call_{}", secateur_common::ids::time_ordered().replace('-', ""))
    }
}

impl Content {
    /// The content of a choice that has just begun. Its text begins with `echo`.
    pub fn begin(echo: Option<String>) -> Self {
        Self {
            text: echo.unwrap_or_default(),
            reasoning: String::new(),
            calls: Vec::new(),
            logprobs: None,
            finish_reason: FinishReason::Stop,
            stop_text: None,
        }
    }

    /// Adds the next piece.
    pub fn add(&mut self, piece: Piece) {
        let Piece { text, reasoning, calls, logprobs, finish, stop_text } = piece;
        self.text.push_str(&text);
        self.reasoning.push_str(&reasoning);
        if let Some(entries) = logprobs {
            self.logprobs.get_or_insert_with(Vec::new).extend(entries);
        }
        calls.into_iter().for_each(|part| self.call(part));
        self.finish_reason = finish.unwrap_or(self.finish_reason);
        self.stop_text = stop_text.or(self.stop_text.take());
    }

    fn call(&mut self, part: CallPart) {
        if let Some(name) = part.name {
            let before = Before { text: self.text.len(), scored: self.logprobs.as_ref().map_or(0, Vec::len) };
            self.calls.push(Call { id: Call::new_id(), name, arguments: String::new(), before });
        }
        if let Some(call) = self.calls.get_mut(part.index) {
            call.arguments.push_str(&part.arguments);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_calls_become_calls() {
        let part = |index, name: Option<&str>, arguments: &str| CallPart {
            index,
            name: name.map(str::to_owned),
            arguments: arguments.into(),
        };
        let mut content = Content::begin(None);
        for (text, part) in [("a", part(0, Some("f"), "{")), ("", part(0, None, "}")), ("bc", part(1, Some("g"), "{}"))]
        {
            content.add(Piece { text: text.into(), calls: vec![part], ..Piece::default() });
        }
        assert_eq!(content.calls.iter().map(|call| call.before.text).collect::<Vec<_>>(), [1, 3]);
        let calls: Vec<_> = content.calls.iter().map(|call| (&*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("f", "{}"), ("g", "{}")]);
        assert_ne!(content.calls[0].id, content.calls[1].id);
    }

    #[test]
    fn pieces_add_up() {
        let mut content = Content::begin(Some("Why? ".into()));
        let piece = |reasoning: &str, text: &str, finish| Piece {
            text: text.into(),
            reasoning: reasoning.into(),
            finish,
            ..Piece::default()
        };
        content.add(piece("hm", "", None));
        content.add(piece("", "Because", None));
        content.add(Piece { stop_text: Some("x".into()), ..piece("", ".", Some(FinishReason::Length)) });
        content.add(Piece::default());
        assert_eq!((&*content.text, &*content.reasoning), ("Why? Because.", "hm"));
        assert_eq!((content.finish_reason, content.stop_text.as_deref()), (FinishReason::Length, Some("x")));
    }
}
