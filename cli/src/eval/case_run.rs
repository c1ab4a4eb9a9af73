//! One case: its request, as any OpenAI client would send it, and what came back.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{arguments::EvalArguments, combination::Combination, receipt::Receipt};
use crate::bench::client::{Client, error_text};
use crate::suite::Case;

/// What became of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was answered, rightly or not; other servers give no receipt.
    Answered { is_right: bool, receipt: Option<Receipt> },
    /// There is no answer, which is not a right one.
    Failed,
}

impl Outcome {
    pub fn is_right(&self) -> bool {
        matches!(self, Outcome::Answered { is_right: true, .. })
    }

    pub fn has_failed(&self) -> bool {
        matches!(self, Outcome::Failed)
    }

    pub fn receipt(&self) -> Option<&Receipt> {
        match self {
            Outcome::Answered { receipt, .. } => receipt.as_ref(),
            Outcome::Failed => None,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// The router does not do what every request of this combination asks for.
    Refused(String),
    /// This request failed.
    Failed(String),
}

/// Asks one case.
pub async fn ask(client: &Client, body: Vec<u8>, case: &Case) -> Result<Outcome, Trouble> {
    let exchanged = client.exchange(body).await;
    let (status, text) = exchanged.map_err(|error| Trouble::Failed(format!("{error:#}")))?;
    if !status.is_success() {
        return Err(trouble(status, &text));
    }
    let reply: Value = serde_json::from_str(&text).map_err(|_| Trouble::Failed(not_openai(&text)))?;
    let message = reply["choices"][0]["message"].as_object().ok_or_else(|| Trouble::Failed(not_openai(&text)))?;
    let answer = message.get("content").and_then(Value::as_str).unwrap_or_default();
    Ok(Outcome::Answered { is_right: answer.trim() == case.answer.trim(), receipt: Receipt::of(&reply) })
}

fn not_openai(text: &str) -> String {
    format!("the answer is not an OpenAI server's: {}", error_text(text))
}

/// A refusal of the extension holds for all cases; any other error, a prompt that is too long for example, for one.
fn trouble(status: StatusCode, text: &str) -> Trouble {
    let body: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let is_of_extension = |param: &str| param == "secateur" || param.starts_with("secateur.");
    match body["error"]["param"].as_str() {
        Some(param) if status == StatusCode::BAD_REQUEST && is_of_extension(param) => {
            Trouble::Refused(error_text(text))
        }
        _ => Trouble::Failed(format!("{status}: {}", error_text(text))),
    }
}

/// The case's request. Greedy, so that every run gives the same answers.
pub fn body(case: &Case, combination: &Combination, model: &str, arguments: &EvalArguments) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    for image in &case.images {
        content.push(json!({"type": "image_url", "image_url": {"url": image.url()?}}));
    }
    content.push(json!({"type": "text", "text": case.prompt}));
    let body = json!({
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "max_tokens": arguments.max_tokens,
        "secateur": combination.extension(),
    });
    Ok(serde_json::to_vec(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_extension_ends_a_combination() {
        let of = |status: StatusCode, param: &str| {
            trouble(status, &json!({"error": {"message": "no", "param": param}}).to_string())
        };
        assert!(
            matches!(of(StatusCode::BAD_REQUEST, "secateur.visual.method"), Trouble::Refused(text) if text == "no")
        );
        assert!(matches!(of(StatusCode::BAD_REQUEST, "messages"), Trouble::Failed(_)));
        assert!(matches!(of(StatusCode::BAD_GATEWAY, "secateur.visual.method"), Trouble::Failed(_)));
        let page = trouble(StatusCode::BAD_REQUEST, "<html>");
        assert!(matches!(page, Trouble::Failed(text) if text == "400 Bad Request: <html>"));
    }
}
