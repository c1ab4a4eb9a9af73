//! The sample question, sent over HTTP and streamed as any OpenAI client would send it.

use std::{path::Path, time::Duration};

use futures::StreamExt;
use reqwest::StatusCode;
use secateur_model::Card;
use serde_json::{Value, json};

use crate::{
    client::{data_uri, event::Event, refusal::error_text, sse::Events},
    key,
};

const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Limit on the tokens of a sample answer.
pub const MAX_TOKENS: u32 = 64;

/// A question with its expected answer.
pub struct Question {
    /// Text of the question.
    pub prompt: String,
    /// The picture as a data URI.
    image: Option<String>,
    /// The answer that the checkpoint's card expects.
    pub expected: Option<String>,
}

/// The router's answer.
#[derive(Default)]
pub struct Answer {
    /// Text of the answer, joined from the deltas.
    pub text: String,
    /// The model's name.
    pub model: String,
    /// The finish reason, in the words of OpenAI's API; empty if the router gave none.
    pub finish: String,
    /// The router's receipt.
    pub receipt: Value,
}

/// Error when the router refuses the question; it may accept another one.
pub struct Refusal(pub String);

impl Question {
    /// The questions to ask of the checkpoint, best first: its card's sample, and a greeting, which any chat model can
    /// answer. Also returns why the sample cannot be asked, if it cannot.
    pub fn all(model: &Path) -> anyhow::Result<(Vec<Self>, Option<String>)> {
        let greeting = Self { prompt: "Hello! What can you do?".to_owned(), image: None, expected: None };
        let Some(sample) = Card::read(model)?.and_then(|card| card.sample) else { return Ok((vec![greeting], None)) };
        let file = model.join(&sample.image);
        Ok(match std::fs::read(&file) {
            Ok(bytes) => {
                let image = Some(data_uri::of("image/png", &bytes));
                let sample = Self { prompt: sample.prompt, image, expected: Some(sample.answer) };
                (vec![sample, greeting], None)
            }
            Err(error) => {
                let why = format!("cannot read the sample picture {} that the card names: {error}", file.display());
                (vec![greeting], Some(why))
            }
        })
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

impl Answer {
    /// Whether the answer was cut off by the sample's token limit.
    pub fn was_cut(&self) -> bool {
        self.finish == "length"
    }
}

/// Asks the question, calls `on_piece` with each delta as it arrives, and returns the whole answer. The inner error is
/// a question that the router refuses, the outer one a cluster that does not work.
pub async fn ask(
    base_url: &str,
    question: &Question,
    mut on_piece: impl FnMut(&str),
) -> anyhow::Result<Result<Answer, Refusal>> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
    let mut request = client.post(format!("{base_url}/v1/chat/completions")).json(&question.body());
    if let Some(key) = key::of_environment() {
        request = request.bearer_auth(key);
    }
    let response = request.send().await?;
    let status = response.status();
    if !status.is_success() {
        let text = error_text(&response.text().await?);
        // A refusal for a missing key is independent of the question.
        if is_about_the_question(status) {
            return Ok(Err(Refusal(text)));
        }
        anyhow::bail!("the router answered {status}: {text}");
    }
    let mut answer = Answer::default();
    let (mut events, mut is_complete) = (Events::default(), false);
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        events.push(&bytes?, |data| {
            match Event::read(data)? {
                Event::Chunk(chunk) => take(&mut answer, &chunk, &mut on_piece),
                Event::Failed(refusal) => anyhow::bail!(refusal.message),
                Event::Done => is_complete = true,
            }
            Ok(())
        })?;
        if is_complete {
            return Ok(Ok(answer));
        }
    }
    anyhow::bail!("the stream ended before it was complete")
}

fn is_about_the_question(status: StatusCode) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY].contains(&status)
}

fn take(answer: &mut Answer, chunk: &Value, on_piece: &mut impl FnMut(&str)) {
    if let Some(model) = chunk["model"].as_str() {
        answer.model = model.to_owned();
    }
    if let Some(piece) = chunk["choices"][0]["delta"]["content"].as_str() {
        answer.text.push_str(piece);
        on_piece(piece);
    }
    if let Some(finish) = chunk["choices"][0]["finish_reason"].as_str() {
        answer.finish = finish.to_owned();
    }
    if let Some(receipt) = chunk.get("secateur").filter(|receipt| receipt.is_object()) {
        answer.receipt = receipt.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_make_an_answer() {
        let mut answer = Answer::default();
        let mut pieces = Vec::new();
        let chunks = [
            json!({"model": "m", "choices": [{"delta": {"role": "assistant", "content": ""}}]}),
            json!({"model": "m", "choices": [{"delta": {"content": "A red"}}]}),
            json!({"model": "m", "choices": [{"delta": {"content": " circle."}}], "secateur": null}),
            json!({"model": "m", "choices": [{"delta": {}, "finish_reason": "length"}]}),
            json!({"model": "m", "choices": [], "secateur": {"attempts": 1}}),
        ];
        for chunk in &chunks {
            take(&mut answer, chunk, &mut |piece: &str| pieces.push(piece.to_owned()));
        }
        assert_eq!(answer.text, "A red circle.");
        assert_eq!(pieces.concat(), answer.text);
        assert_eq!(answer.receipt["attempts"], 1);
        assert!(answer.was_cut());
    }

    #[test]
    fn a_greeting_is_asked_where_there_is_no_sample_or_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (questions, why) = Question::all(dir.path()).unwrap();
        assert_eq!((questions.len(), &questions[0].expected, why), (1, &None, None));
        assert_eq!(questions[0].body()["messages"][0]["content"].as_array().unwrap().len(), 1);
        let card = r#"{"format": 1, "sample": {"image": "a.png", "prompt": "What?", "answer": "That."}}"#;
        std::fs::write(dir.path().join("secateur.json"), card).unwrap();
        let (questions, why) = Question::all(dir.path()).unwrap();
        assert!(questions.len() == 1 && why.unwrap().contains("a.png"));
        std::fs::write(dir.path().join("a.png"), "png").unwrap();
        let (questions, why) = Question::all(dir.path()).unwrap();
        assert_eq!((questions.len(), questions[0].expected.as_deref(), why), (2, Some("That."), None));
        assert_eq!(questions[0].body()["messages"][0]["content"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn only_a_refusal_of_the_question_is_one() {
        assert!(is_about_the_question(StatusCode::BAD_REQUEST));
        for status in [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR] {
            assert!(!is_about_the_question(status), "{status}");
        }
    }
}
