//! A server's error, as the body of an answer or as an event of a stream.

use std::fmt;

use reqwest::StatusCode;
use serde_json::Value;

/// Most characters shown of an error's text: a page of HTML would hide everything else.
const CHARS_MAX: usize = 300;

/// A server's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer's status; `None` for an event of a stream, whose status was 200.
    pub status: Option<u16>,
    /// The server's words.
    pub message: String,
    /// Path of the field at fault, if the server names one.
    pub param: Option<String>,
}

impl Refusal {
    /// The error of an answer with that status and body.
    pub fn of_answer(status: StatusCode, body: &str) -> Refusal {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        Refusal { status: Some(status.as_u16()), message: error_text(body), param: param(&parsed["error"]) }
    }

    /// The error of an event; `None` if the event is none.
    pub fn of_event(event: &Value) -> Option<Refusal> {
        let error = event.get("error").filter(|error| !error.is_null())?;
        let message = error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
        Some(Refusal { status: None, message: shortened(&message), param: param(error) })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(out, "{status}: ")?;
        }
        out.write_str(&self.message)?;
        self.param.as_ref().map_or(Ok(()), |param| write!(out, " (param: {param})"))
    }
}

/// The message of an OpenAI error, or the beginning of any other text.
pub fn error_text(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    shortened(parsed["error"]["message"].as_str().unwrap_or(body.trim()))
}

fn param(error: &Value) -> Option<String> {
    error["param"].as_str().map(shortened)
}

fn shortened(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_is_short() {
        assert_eq!(error_text(r#"{"error": {"message": "too long"}}"#), "too long");
        assert_eq!(error_text(&"x".repeat(5000)).len(), CHARS_MAX);
    }

    #[test]
    fn status_message_and_param_are_shown() {
        let body = json!({"error": {"message": "n must be 1", "param": "n", "code": "invalid_request"}}).to_string();
        assert_eq!(Refusal::of_answer(StatusCode::BAD_REQUEST, &body).to_string(), "400: n must be 1 (param: n)");
        let plain = Refusal::of_answer(StatusCode::BAD_GATEWAY, "no upstream\n");
        assert_eq!((plain.to_string().as_str(), plain.param), ("502: no upstream", None));
        let event = Refusal::of_event(&json!({"error": {"message": "gone", "param": null}})).unwrap();
        assert_eq!(event.to_string(), "gone");
        assert_eq!(Refusal::of_event(&json!({"error": "odd"})).unwrap().to_string(), "\"odd\"");
        assert_eq!(Refusal::of_event(&json!({"error": null, "choices": []})), None);
    }
}
