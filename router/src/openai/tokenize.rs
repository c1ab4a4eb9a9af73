//! The body of `POST /tokenize`, compatible with vLLM's.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    chat,
    fields::{Fields, unsupported},
};
use crate::request::{ChatJob, Limits};

/// The input to tokenize.
#[derive(Debug)]
pub enum TokenizeJob {
    /// The text of `prompt`, without a template.
    Text {
        /// The text.
        text: String,
        /// Whether the tokenizer adds its special tokens, such as the one that begins a sequence.
        adds_special_tokens: bool,
    },
    /// The conversation of `messages`, rendered as for a chat request.
    Chat(Box<ChatJob>),
}

/// Reads and validates a request body.
pub fn parse(body: &Value, limits: &Limits) -> Result<TokenizeJob, ServiceError> {
    let fields = Fields::of(body, "")?;
    if fields.flag("return_token_strs")?.unwrap_or(false) {
        return Err(unsupported("return_token_strs", "return_token_strs is not supported; leave it out"));
    }
    if fields.get("messages").is_some() {
        return chat::parse(body, limits).map(Box::new).map(TokenizeJob::Chat);
    }
    let text = fields.text("prompt")?.ok_or_else(|| fields.invalid("prompt", "or messages is required"))?;
    let adds_special_tokens = fields.flag("add_special_tokens")?.unwrap_or(true);
    Ok(TokenizeJob::Text { text: text.to_owned(), adds_special_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIMITS: Limits = Limits { images_max: 2, image_bytes_max: 100, vocab: 300 };

    #[test]
    fn a_prompt_or_messages_are_read() {
        let job = parse(&json!({"prompt": "hi", "add_special_tokens": false}), &LIMITS).unwrap();
        assert!(matches!(job, TokenizeJob::Text { text, adds_special_tokens: false } if text == "hi"));
        let job = parse(&json!({"messages": [{"role": "user", "content": "hi"}]}), &LIMITS).unwrap();
        assert!(matches!(job, TokenizeJob::Chat(_)));
        for (body, param) in [
            (json!({}), "prompt"),
            (json!({"prompt": 5}), "prompt"),
            (json!({"messages": []}), "messages"),
            (json!({"prompt": "a", "return_token_strs": true}), "return_token_strs"),
        ] {
            assert_eq!(parse(&body, &LIMITS).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
