//! One request, sent as any OpenAI client would send it, streamed and timed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{sse::Events, timeline::Timeline};
use crate::key;

/// Timeout for queries about the server, which take no computation.
const QUESTION_MAX: Duration = Duration::from_secs(30);
/// Most characters shown of an error's text: a page of HTML would hide the other errors.
const ERROR_CHARS_MAX: usize = 300;

/// Sends requests to one server. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    timeout: Duration,
}

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

impl Client {
    /// A client of the server at `url`, for answers that take no longer than `timeout`.
    pub fn new(url: &str, timeout: Duration) -> anyhow::Result<Client> {
        // A proxy from the environment would be measured too.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(usize::MAX).build()?;
        Ok(Client { http, url: url.to_owned(), key: key::of_environment(), timeout })
    }

    /// The name of the server's model.
    pub async fn model(&self) -> anyhow::Result<String> {
        let request = self.with_key(self.http.get(format!("{}/v1/models", self.url))).timeout(QUESTION_MAX);
        let answer = request.send().await.context("no answer (is a router running there?)")?;
        let status = answer.status();
        if !status.is_success() {
            bail!("/v1/models answered {status}; SECATEUR_API_KEY must be set where the router asks for a key");
        }
        let models: Value = answer.json().await.context("/v1/models is not an OpenAI server's")?;
        let name = models["data"][0]["id"].as_str().context("the server has no model")?;
        Ok(name.to_owned())
    }

    /// Number of tokens of a conversation with only this text; `None` if the server does not report it.
    pub async fn count_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        let request = self.with_key(self.http.post(format!("{}/tokenize", self.url)).json(&body));
        let answer = request.timeout(QUESTION_MAX).send().await.ok()?.error_for_status().ok()?;
        answer.json::<Value>().await.ok()?["count"].as_u64()
    }

    /// Sends a body and reads the answer to its end.
    pub async fn ask(&self, body: Vec<u8>) -> anyhow::Result<Answer> {
        let request = self.with_key(self.http.post(format!("{}/v1/chat/completions", self.url)));
        let request = request.header("content-type", "application/json").timeout(self.timeout).body(body);
        let sent = Instant::now();
        let response = request.send().await?;
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

    /// Sends a body and returns status and text, also for error statuses; fails only if no answer arrives.
    pub async fn exchange(&self, body: Vec<u8>) -> anyhow::Result<(StatusCode, String)> {
        let request = self.with_key(self.http.post(format!("{}/v1/chat/completions", self.url)));
        let request = request.header("content-type", "application/json").timeout(self.timeout).body(body);
        let response = request.send().await?;
        Ok((response.status(), response.text().await?))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// The message of an OpenAI error, or the beginning of any other text.
pub fn error_text(body: &str) -> String {
    let message = serde_json::from_str(body).ok().and_then(|body: Value| message(&body));
    message.unwrap_or_else(|| body.trim().to_owned()).chars().take(ERROR_CHARS_MAX).collect()
}

fn message(body: &Value) -> Option<String> {
    body["error"]["message"].as_str().map(str::to_owned)
}

/// An answer that is still being read.
struct Reading {
    timeline: Timeline,
    /// Whether its finish reason has arrived; later chunks describe the answer.
    is_finished: bool,
    is_complete: bool,
    usage: Value,
    receipt: Value,
}

impl Reading {
    fn new(sent: Instant) -> Reading {
        let timeline = Timeline { sent, content: Vec::new(), end: sent };
        Reading { timeline, is_finished: false, is_complete: false, usage: Value::Null, receipt: Value::Null }
    }

    fn take(&mut self, data: &[u8], now: Instant) -> anyhow::Result<()> {
        if !self.is_finished {
            self.timeline.end = now;
        }
        if data == b"[DONE]" {
            self.is_complete = true;
            return Ok(());
        }
        let mut chunk: Value = serde_json::from_slice(data).context("an event of the stream is not JSON")?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            bail!("in the stream: {}", message(&chunk).unwrap_or_else(|| chunk["error"].to_string()));
        }
        if chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()) {
            self.timeline.content.push(now);
        }
        self.is_finished |= chunk["choices"][0]["finish_reason"].is_string();
        for (kept, key) in [(&mut self.usage, "usage"), (&mut self.receipt, "secateur")] {
            if chunk[key].is_object() {
                *kept = chunk[key].take();
            }
        }
        Ok(())
    }

    fn answer(self) -> anyhow::Result<Answer> {
        if !self.is_complete {
            bail!("the stream ended before it was complete");
        }
        let chunks = self.timeline.content.len() as u64;
        Ok(Answer {
            prompt_tokens: self.usage["prompt_tokens"].as_u64().unwrap_or(0),
            output_tokens: self.usage["completion_tokens"].as_u64().unwrap_or(chunks),
            timeline: self.timeline,
            receipt: self.receipt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_error_is_short() {
        assert_eq!(error_text(r#"{"error": {"message": "too long"}}"#), "too long");
        assert_eq!(error_text(&"x".repeat(5000)).len(), ERROR_CHARS_MAX);
    }
}
