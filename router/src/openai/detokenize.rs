//! The body of `POST /detokenize`, compatible with vLLM's.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, whole};
use crate::request::Limits;

/// Most tokens of one request.
const TOKENS_MAX: usize = 1 << 20;

/// Reads and validates a request body: the tokens whose text is asked for.
pub fn parse(body: &Value, limits: &Limits) -> Result<Vec<u32>, ServiceError> {
    let fields = Fields::of(body, "")?;
    let values = fields.list("tokens")?.ok_or_else(|| fields.invalid("tokens", "is required"))?;
    if values.len() > TOKENS_MAX {
        return Err(fields.invalid("tokens", format!("may hold at most {TOKENS_MAX} token ids")));
    }
    let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok()).filter(|id| *id < limits.vocab);
    let ids: Option<Vec<u32>> = values.iter().map(id).collect();
    ids.ok_or_else(|| fields.invalid("tokens", format!("must hold token ids below {}", limits.vocab)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_read_and_bounded() {
        let limits = Limits { images_max: 0, image_bytes_max: 0, vocab: 300 };
        assert_eq!(parse(&json!({"tokens": [0, 299], "model": "m"}), &limits).unwrap(), [0, 299]);
        assert!(parse(&json!({"tokens": []}), &limits).unwrap().is_empty());
        for tokens in [json!(null), json!("x"), json!([300]), json!([-1]), json!([1.5])] {
            assert_eq!(parse(&json!({"tokens": tokens}), &limits).unwrap_err().param.as_deref(), Some("tokens"));
        }
    }
}
