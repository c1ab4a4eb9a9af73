//! The sample question: what any OpenAI client would send, over HTTP, streamed.

use std::{path::Path, time::Duration};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt;
use secateur_model::Card;
use serde_json::{Value, json};

const ANSWER_MAX: Duration = Duration::from_secs(120);
const MAX_TOKENS: u32 = 64;

/// A question with what should come back.
pub struct Question {
    /// The words.
    pub prompt: String,
    /// The picture as a data URI.
    image: Option<String>,
    /// What the checkpoint's card says the answer is.
    pub expected: Option<String>,
}

/// What came back.
pub struct Answer {
    /// The deltas, joined.
    pub text: String,
    /// The model's name.
    pub model: String,
    /// The router's receipt.
    pub receipt: Value,
}

impl Question {
    /// The card's sample; for a checkpoint without one, a greeting.
    pub fn of(model: &Path) -> anyhow::Result<Self> {
        let Some(sample) = Card::read(model)?.and_then(|card| card.sample) else {
            return Ok(Self { prompt: "Hello! What can you do?".to_owned(), image: None, expected: None });
        };
        let file = model.join(&sample.image);
        let bytes = std::fs::read(&file)
            .with_context(|| format!("cannot read the sample picture {} that the card names", file.display()))?;
        let image = Some(format!("data:image/png;base64,{}", STANDARD.encode(bytes)));
        Ok(Self { prompt: sample.prompt, image, expected: Some(sample.answer) })
    }

    fn body(&self) -> Value {
        let mut content = Vec::new();
        if let Some(url) = &self.image {
            content.push(json!({"type": "image_url", "image_url": {"url": url}}));
        }
        content.push(json!({"type": "text", "text": self.prompt}));
        json!({
            "messages": [{"role": "user", "content": content}],
            "max_tokens": MAX_TOKENS, "temperature": 0, "stream": true, "stream_options": {"include_usage": true},
        })
    }
}

/// Asks, calls `on_piece` with each delta as it comes, and returns the whole.
pub async fn ask(base_url: &str, question: &Question, mut on_piece: impl FnMut(&str)) -> anyhow::Result<Answer> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
    let mut request = client.post(format!("{base_url}/v1/chat/completions")).json(&question.body());
    // The router takes its keys from the same environment.
    if let Some(key) = std::env::var("SECATEUR_API_KEY").ok().as_deref().and_then(|keys| keys.split(',').next()) {
        request = request.bearer_auth(key);
    }
    let response = request.send().await?;
    let status = response.status();
    if !status.is_success() {
        anyhow::bail!("the router answered {status}: {}", response.text().await?);
    }
    let mut answer = Answer { text: String::new(), model: String::new(), receipt: Value::Null };
    let mut buffer = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        buffer.extend_from_slice(&bytes?);
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            if data.trim_ascii() == b"[DONE]" {
                return Ok(answer);
            }
            take(&mut answer, &serde_json::from_slice(data)?, &mut on_piece)?;
        }
    }
    anyhow::bail!("the stream ended before it was complete")
}

fn take(answer: &mut Answer, chunk: &Value, on_piece: &mut impl FnMut(&str)) -> anyhow::Result<()> {
    if let Some(error) = chunk.get("error") {
        anyhow::bail!("{}", error["message"].as_str().unwrap_or("the router reported an error"));
    }
    if let Some(model) = chunk["model"].as_str() {
        answer.model = model.to_owned();
    }
    if let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() {
        answer.text.push_str(piece);
        on_piece(piece);
    }
    if let Some(receipt) = chunk.get("secateur").filter(|receipt| receipt.is_object()) {
        answer.receipt = receipt.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_make_an_answer() {
        let mut answer = Answer { text: String::new(), model: String::new(), receipt: Value::Null };
        let mut pieces = Vec::new();
        let chunks = [
            json!({"model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]}),
            json!({"model": "m", "choices": [{"delta": {"content": "A red"}}]}),
            json!({"model": "m", "choices": [{"delta": {"content": " circle."}}], "secateur": null}),
            json!({"model": "m", "choices": [], "secateur": {"attempts": 1}}),
        ];
        for chunk in &chunks {
            take(&mut answer, chunk, &mut |piece: &str| pieces.push(piece.to_owned())).unwrap();
        }
        assert_eq!(answer.text, "A red circle.");
        assert_eq!(pieces.concat(), answer.text);
        assert_eq!(answer.receipt["attempts"], 1);
        assert!(take(&mut answer, &json!({"error": {"message": "no"}}), &mut |_: &str| ()).is_err());
    }

    #[test]
    fn a_folder_without_a_card_gets_a_greeting() {
        let dir = tempfile::tempdir().unwrap();
        let question = Question::of(dir.path()).unwrap();
        assert_eq!(question.expected, None);
        assert_eq!(question.body()["messages"][0]["content"].as_array().unwrap().len(), 1);
    }
}
