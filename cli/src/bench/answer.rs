//! One request, streamed and timed.

use std::time::Instant;

use anyhow::bail;
use futures::StreamExt;
use serde_json::Value;

use crate::client::{
    connection::Client,
    event::{Account, Event},
    refusal::error_text,
    sse::Events,
    timeline::Timeline,
};

/// A server's answer to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Times at which its pieces arrived.
    pub timeline: Timeline,
    /// Number of prompt tokens, as counted by the server.
    pub prompt_tokens: u64,
    /// Number of answer tokens, as counted by the server; if it does not report them, the number of chunks.
    pub output_tokens: u64,
    /// The field `secateur` of the last chunk; null for other servers.
    pub receipt: Value,
}

/// Sends a body and reads the answer to its end.
pub async fn ask(client: &Client, body: Vec<u8>) -> anyhow::Result<Answer> {
    let sent = Instant::now();
    let response = client.chat(body).await?;
    let status = response.status();
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        bail!("{status}: {}", error_text(&text));
    }
    let mut reading = Reading::new(sent);
    let mut events = Events::default();
    let mut bytes = response.bytes_stream();
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        let now = Instant::now();
        events.push(&piece, |data| reading.take(data, now))?;
    }
    reading.answer()
}

/// An answer that is still being read.
struct Reading {
    timeline: Timeline,
    /// Whether its finish reason has arrived; later chunks describe the answer.
    is_finished: bool,
    is_complete: bool,
    account: Account,
}

impl Reading {
    fn new(sent: Instant) -> Reading {
        Reading { timeline: Timeline::new(sent), is_finished: false, is_complete: false, account: Account::default() }
    }

    fn take(&mut self, data: &[u8], now: Instant) -> anyhow::Result<()> {
        if !self.is_finished {
            self.timeline.end = now;
        }
        let mut chunk = match Event::read(data)? {
            Event::Done => {
                self.is_complete = true;
                return Ok(());
            }
            Event::Failed(refusal) => bail!("in the stream: {}", refusal.message),
            Event::Chunk(chunk) => chunk,
        };
        if chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()) {
            self.timeline.content.push(now);
        }
        self.is_finished |= chunk["choices"][0]["finish_reason"].is_string();
        self.account.take(&mut chunk);
        Ok(())
    }

    fn answer(self) -> anyhow::Result<Answer> {
        if !self.is_complete {
            bail!("the stream ended before it was complete");
        }
        let chunks = self.timeline.content.len() as u64;
        Ok(Answer {
            prompt_tokens: self.account.prompt_tokens(),
            output_tokens: self.account.output_tokens().unwrap_or(chunks),
            timeline: self.timeline,
            receipt: self.account.receipt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(events: &[&str]) -> anyhow::Result<Answer> {
        let now = Instant::now();
        let mut reading = Reading::new(now);
        for (index, data) in (1..).zip(events) {
            reading.take(data.as_bytes(), now + Duration::from_millis(10 * index))?;
        }
        reading.answer()
    }

    #[test]
    fn only_chunks_with_text_count_as_content() {
        let answer = read(&[
            r#"{"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": null}"#,
            r#"{"choices": [{"delta": {"content": "a"}}]}"#,
            r#"{"choices": [{"delta": {"content": "b"}}]}"#,
            r#"{"choices": [{"delta": {}, "finish_reason": "length"}]}"#,
            r#"{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}, "secateur": {"attempts": 1}}"#,
            "[DONE]",
        ]);
        let answer = answer.unwrap();
        assert_eq!(answer.timeline.first(), Some(Duration::from_millis(20)));
        assert_eq!(answer.timeline.content.len(), 2);
        assert_eq!(answer.timeline.whole(), Duration::from_millis(40));
        assert_eq!((answer.prompt_tokens, answer.output_tokens), (7, 3));
        assert_eq!(answer.receipt["attempts"], 1);
    }

    #[test]
    fn errors_and_ends_in_the_middle_are_failures() {
        let error = read(&[r#"{"error": {"message": "decode is gone"}}"#]).unwrap_err();
        assert!(error.to_string().contains("decode is gone"));
        assert!(read(&[r#"{"choices": [{"delta": {"content": "a"}}]}"#]).is_err());
        assert!(read(&["no json"]).is_err());
    }
}
