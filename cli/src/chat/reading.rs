//! An answer that arrives.

use std::time::Instant;

use super::{
    deltas::{Deltas, Piece},
    failure::Failure,
};
use crate::client::{
    event::{Account, Event},
    timeline::Timeline,
};

/// An answer that arrives.
#[derive(Debug)]
pub struct Reading {
    /// Its words so far, without reasoning.
    pub text: String,
    /// Times at which its pieces arrived.
    pub timeline: Timeline,
    /// What the server counted.
    pub account: Account,
    /// The finish reason, once it has arrived; later chunks describe the answer.
    pub finish: Option<String>,
    /// Whether the stream has ended as a complete one does.
    pub is_complete: bool,
    deltas: Deltas,
}

impl Reading {
    /// The answer to a request that is sent at that moment.
    pub fn new(sent: Instant) -> Reading {
        Reading {
            text: String::new(),
            timeline: Timeline::new(sent),
            account: Account::default(),
            finish: None,
            is_complete: false,
            deltas: Deltas::default(),
        }
    }

    /// Takes the data of an event, and returns the pieces in it.
    pub fn take(&mut self, data: &[u8], now: Instant) -> Result<Vec<Piece>, Failure> {
        if self.finish.is_none() {
            self.timeline.end = now;
        }
        let mut chunk = match Event::read(data) {
            Ok(Event::Chunk(chunk)) => chunk,
            Ok(Event::Done) => {
                self.is_complete = true;
                return Ok(Vec::new());
            }
            Ok(Event::Failed(refusal)) => return Err(Failure::Ended(refusal)),
            Err(error) => return Err(Failure::Broken(format!("{error:#}"))),
        };
        let pieces = self.deltas.pieces(&chunk);
        if !pieces.is_empty() {
            self.timeline.content.push(now);
        }
        for piece in &pieces {
            if let Piece::Text(words) = piece {
                self.text.push_str(words);
            }
        }
        if let Some(reason) = chunk["choices"][0]["finish_reason"].as_str() {
            self.finish = Some(reason.to_owned());
        }
        self.account.take(&mut chunk);
        Ok(pieces)
    }

    /// Whether the stream, which is over, was whole.
    pub fn end(&self) -> Result<(), Failure> {
        if self.is_complete {
            return Ok(());
        }
        Err(Failure::Broken("the stream ended before it was complete".to_owned()))
    }

    /// Number of answer tokens, as counted by the server; if it does not report them, the number of chunks with text.
    pub fn tokens(&self) -> u64 {
        self.account.output_tokens().unwrap_or(self.timeline.content.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(events: &[&str]) -> (Reading, Result<(), Failure>) {
        let now = Instant::now();
        let mut reading = Reading::new(now);
        for (index, data) in (1..).zip(events) {
            if let Err(failure) = reading.take(data.as_bytes(), now + Duration::from_millis(10 * index)) {
                return (reading, Err(failure));
            }
        }
        let end = reading.end();
        (reading, end)
    }

    #[test]
    fn text_times_and_counts_are_read() {
        let (reading, end) = read(&[
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}]}"#,
            r#"{"choices": [{"delta": {"reasoning_content": "hm"}}]}"#,
            r#"{"choices": [{"delta": {"content": "a"}}]}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "length"}]}"#,
            r#"{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}, "secateur": {"attempts": 1}}"#,
            "[DONE]",
        ]);
        assert_eq!((end, reading.text.as_str(), reading.tokens()), (Ok(()), "a", 3));
        assert_eq!(reading.timeline.first(), Some(Duration::from_millis(20)));
        assert_eq!(reading.timeline.whole(), Duration::from_millis(40));
        assert_eq!((reading.finish.as_deref(), &reading.account.receipt["attempts"]), (Some("length"), &1.into()));
    }

    #[test]
    fn a_stream_that_breaks_off_says_so() {
        let begun = r#"{"choices": [{"delta": {"content": "a"}}]}"#;
        let cases = [
            (vec![begun], "before it was complete"),
            (vec![begun, "no json"], "not JSON"),
            (vec![begun, r#"{"error": {"message": "decode is gone"}}"#], "decode is gone"),
        ];
        for (events, words) in cases {
            let (reading, end) = read(&events);
            let why = end.unwrap_err().to_string();
            assert!(why.starts_with("the answer broke off: ") && why.contains(words), "{why}");
            assert_eq!((reading.text.as_str(), reading.tokens()), ("a", 1));
        }
    }
}
