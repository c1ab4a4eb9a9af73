//! Reads prompts that no template renders: texts or token ids, one or several.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, invalid, whole};
use crate::request::{RawPrompt, Words};

/// Reads the field `key`: a string, a list of token ids below `vocab`, or a list of at most `most` of either.
pub fn parse(fields: &Fields, key: &str, vocab: u32, most: usize) -> Result<Vec<RawPrompt>, ServiceError> {
    let path = fields.path(key);
    match fields.get(key) {
        None => Err(fields.invalid(key, "is required")),
        Some(Value::Array(values)) if values.is_empty() => Err(fields.invalid(key, "must not be empty")),
        Some(Value::Array(values)) if values.iter().any(|value| value.is_string() || value.is_array()) => {
            if values.len() > most {
                return Err(fields.invalid(key, format!("may hold at most {most} prompts")));
            }
            let one = |(index, value)| prompt(value, format!("{path}[{index}]"), vocab);
            values.iter().enumerate().map(one).collect()
        }
        Some(value) => Ok(vec![prompt(value, path, vocab)?]),
    }
}

fn prompt(value: &Value, param: String, vocab: u32) -> Result<RawPrompt, ServiceError> {
    let words = match value {
        Value::String(text) => Words::Text(text.clone()),
        Value::Array(values) if values.is_empty() => {
            return Err(invalid(param.clone(), format!("{param} must not be empty")));
        }
        Value::Array(values) => {
            let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok()).filter(|id| *id < vocab);
            let ids: Option<Vec<u32>> = values.iter().map(id).collect();
            Words::Tokens(
                ids.ok_or_else(|| invalid(param.clone(), format!("{param} must hold token ids below {vocab}")))?,
            )
        }
        _ => {
            let message = format!("{param} must be a string, a list of token ids, or a list of these");
            return Err(invalid(param, message));
        }
    };
    Ok(RawPrompt { words, param })
}
