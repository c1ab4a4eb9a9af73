//! Reads the conditions that end an answer.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, invalid, whole};
use crate::request::{MaxTokens, StopConditions};

const STOP_TEXTS_MAX: usize = 64;
const STOP_TEXT_CHARS_MAX: usize = 1_000;

/// Reads `stop` and vLLM's `stop_token_ids`, `ignore_eos` and `min_tokens`.
pub fn parse(fields: &Fields, vocab: u32, max_tokens: &MaxTokens) -> Result<StopConditions, ServiceError> {
    Ok(StopConditions {
        texts: stop_texts(fields)?,
        shows_stop: fields.flag("include_stop_str_in_output")?.unwrap_or(false),
        token_ids: stop_token_ids(fields, vocab)?,
        ignores_end_tokens: fields.flag("ignore_eos")?.unwrap_or(false),
        min_tokens: min_tokens(fields, max_tokens)?,
    })
}

fn min_tokens(fields: &Fields, max_tokens: &MaxTokens) -> Result<u32, ServiceError> {
    let min = fields.integer_from("min_tokens", 0)?.unwrap_or(0);
    match max_tokens.tokens {
        Some(max) if min > max => {
            Err(fields.out_of_range("min_tokens", format!("at most {} ({max})", max_tokens.field)))
        }
        _ => Ok(min),
    }
}

fn stop_texts(fields: &Fields) -> Result<Vec<String>, ServiceError> {
    let texts = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![(fields.path("stop"), text.clone())],
        Some(Value::Array(values)) => {
            let text = |(index, value): (usize, &Value)| {
                let path = format!("{}[{index}]", fields.path("stop"));
                match value.as_str() {
                    Some(text) => Ok((path, text.to_owned())),
                    None => Err(invalid(path.clone(), format!("{path} must be a string"))),
                }
            };
            values.iter().enumerate().map(text).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(fields.invalid("stop", "must be a string or a list of strings")),
    };
    if texts.len() > STOP_TEXTS_MAX {
        return Err(fields.invalid("stop", format!("may have at most {STOP_TEXTS_MAX} entries")));
    }
    for (path, text) in &texts {
        if text.is_empty() {
            return Err(invalid(path.clone(), format!("{path} must not be empty")));
        }
        if text.chars().count() > STOP_TEXT_CHARS_MAX {
            return Err(invalid(path.clone(), format!("{path} may have at most {STOP_TEXT_CHARS_MAX} characters")));
        }
    }
    Ok(texts.into_iter().map(|(_, text)| text).collect())
}

fn stop_token_ids(fields: &Fields, vocab: u32) -> Result<Vec<u32>, ServiceError> {
    let values = fields.list("stop_token_ids")?.unwrap_or_default();
    if values.len() > STOP_TEXTS_MAX {
        return Err(fields.invalid("stop_token_ids", format!("may have at most {STOP_TEXTS_MAX} entries")));
    }
    let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok()).filter(|id| *id < vocab);
    let ids: Option<Vec<u32>> = values.iter().map(id).collect();
    ids.ok_or_else(|| fields.invalid("stop_token_ids", format!("must hold token ids below {vocab}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(body: &str) -> Result<StopConditions, ServiceError> {
        let body: Value = serde_json::from_str(body).unwrap();
        let max_tokens = MaxTokens { tokens: Some(5), field: "max_tokens", sent: Some("5".into()), total: None };
        parse(&Fields::of(&body, "").unwrap(), 300, &max_tokens)
    }

    #[test]
    fn stop_is_a_string_or_a_list() {
        assert_eq!(stop(r#"{"stop": "a"}"#).unwrap().texts, ["a"]);
        assert_eq!(stop(r#"{"stop": ["a", "b"], "stop_token_ids": [2]}"#).unwrap().token_ids, [2]);
        assert_eq!(stop(r#"{"stop": []}"#).unwrap(), StopConditions::default());
        assert_eq!(stop(r#"{"stop": ["a", ""]}"#).unwrap_err().param.as_deref(), Some("stop[1]"));
        assert!(stop(r#"{"stop": 3}"#).is_err());
        assert!(stop(r#"{"stop_token_ids": [300]}"#).is_err());
    }

    #[test]
    fn the_shortest_answer_is_at_most_the_longest() {
        assert_eq!(stop(r#"{"min_tokens": 5}"#).unwrap().min_tokens, 5);
        let error = stop(r#"{"min_tokens": 6}"#).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("min_tokens"));
        assert_eq!(error.message, "min_tokens must be at most max_tokens (5), not 6");
        assert!(stop(r#"{"min_tokens": -1}"#).is_err());
        assert!(stop(r#"{"ignore_eos": true}"#).unwrap().ignores_end_tokens);
        assert_eq!(stop(r#"{"ignore_eos": 1}"#).unwrap_err().param.as_deref(), Some("ignore_eos"));
    }
}
