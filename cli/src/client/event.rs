//! One event of a streamed answer, and what the server counted.

use anyhow::Context;
use serde_json::Value;

use super::refusal::Refusal;

/// The data of one event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A part of the answer.
    Chunk(Value),
    /// The server's error; nothing follows.
    Failed(Refusal),
    /// The end of a complete answer.
    Done,
}

impl Event {
    /// Reads the data of one event.
    pub fn read(data: &[u8]) -> anyhow::Result<Event> {
        if data == b"[DONE]" {
            return Ok(Event::Done);
        }
        let chunk: Value = serde_json::from_slice(data).context("an event of the stream is not JSON")?;
        Ok(Refusal::of_event(&chunk).map_or(Event::Chunk(chunk), Event::Failed))
    }
}

/// What the server counted, from the chunks of an answer; null where a server does not report it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The field `usage` of the last chunk that has one.
    pub usage: Value,
    /// The field `secateur` of the last chunk that has one.
    pub receipt: Value,
}

impl Account {
    /// Takes what a chunk reports out of it.
    pub fn take(&mut self, chunk: &mut Value) {
        for (kept, key) in [(&mut self.usage, "usage"), (&mut self.receipt, "secateur")] {
            if chunk[key].is_object() {
                *kept = chunk[key].take();
            }
        }
    }

    /// Number of prompt tokens; 0 if the server does not report it.
    pub fn prompt_tokens(&self) -> u64 {
        self.usage["prompt_tokens"].as_u64().unwrap_or(0)
    }

    /// Number of answer tokens; `None` if the server does not report it.
    pub fn output_tokens(&self) -> Option<u64> {
        self.usage["completion_tokens"].as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_apart() {
        assert_eq!(Event::read(b"[DONE]").unwrap(), Event::Done);
        assert_eq!(Event::read(b"{\"choices\": []}").unwrap(), Event::Chunk(json!({"choices": []})));
        assert!(matches!(Event::read(b"{\"error\": {\"message\": \"no\"}}").unwrap(), Event::Failed(_)));
        assert!(Event::read(b"no json").is_err());
    }

    #[test]
    fn the_last_report_counts() {
        let mut account = Account::default();
        assert_eq!((account.prompt_tokens(), account.output_tokens()), (0, None));
        account.take(&mut json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}));
        account.take(&mut json!({"usage": {"prompt_tokens": 7, "completion_tokens": 3}, "secateur": {"attempts": 1}}));
        account.take(&mut json!({"usage": null}));
        account.take(&mut json!(3));
        assert_eq!((account.prompt_tokens(), account.output_tokens()), (7, Some(3)));
        assert_eq!(account.receipt["attempts"], 1);
    }
}
