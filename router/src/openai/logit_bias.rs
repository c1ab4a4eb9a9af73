//! `logit_bias`: an object whose keys are token ids and whose values are added to their logits.

use std::collections::HashMap;

use secateur_proto::ServiceError;

use super::fields::Fields;

const FIELD: &str = "logit_bias";
/// Most entries: each costs the nodes a look-up for every token they draw.
const ENTRIES_MAX: usize = 1_024;
const BIAS_MAX: f64 = 100.0;
/// Most characters of a wrong key that an error quotes, enough to find it again.
const KEY_CHARS_SHOWN: usize = 40;

/// Reads the field; ids must be below `vocab`.
pub fn parse(fields: &Fields, vocab: u32) -> Result<HashMap<u32, f32>, ServiceError> {
    let Some(entries) = fields.object(FIELD)? else { return Ok(HashMap::new()) };
    if entries.keys().count() > ENTRIES_MAX {
        return Err(fields.invalid(FIELD, format!("may have at most {ENTRIES_MAX} entries")));
    }
    let entry = |key| Ok((token_id(fields, key, vocab)?, bias(fields, &entries, key)?));
    // A null entry is skipped, since null means absent everywhere.
    entries.keys().filter(|key| entries.get(key).is_some()).map(entry).collect()
}

fn token_id(fields: &Fields, key: &str, vocab: u32) -> Result<u32, ServiceError> {
    let is_plain = key.bytes().all(|byte| byte.is_ascii_digit());
    key.parse().ok().filter(|id| is_plain && *id < vocab).ok_or_else(|| {
        let key: String = key.chars().take(KEY_CHARS_SHOWN).collect();
        fields.invalid(FIELD, format!("must have token ids below {vocab} as keys, not {key:?}"))
    })
}

fn bias(fields: &Fields, entries: &Fields, key: &str) -> Result<f32, ServiceError> {
    match entries.get(key).and_then(serde_json::Value::as_f64) {
        Some(bias) if bias.abs() <= BIAS_MAX => Ok(bias as f32),
        Some(bias) => Err(fields.invalid(FIELD, format!("must hold values between -100 and 100, not {bias}"))),
        None => Err(fields.invalid(FIELD, "must hold numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(bias: Value) -> Result<HashMap<u32, f32>, ServiceError> {
        parse(&Fields::of(&json!({"logit_bias": bias}), "").unwrap(), 300)
    }

    #[test]
    fn keys_are_token_ids_and_values_are_bounded() {
        assert_eq!(read(json!({"5": -100, "299": 1.5, "7": null})).unwrap(), HashMap::from([(5, -100.0), (299, 1.5)]));
        assert!(read(json!({})).unwrap().is_empty());
        for wrong in [json!({"300": 1}), json!({"-1": 1}), json!({"+1": 1}), json!({"the": 1}), json!({"": 1})] {
            assert!(read(wrong).unwrap_err().message.contains("token ids below 300"));
        }
        assert!(read(json!({"1": 100.5})).unwrap_err().message.contains("-100 and 100"));
        for wrong in [json!({"1": "x"}), json!([[1, 2]]), json!(3)] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("logit_bias"));
        }
    }

    #[test]
    fn entries_are_counted() {
        let entries: Value = (0..=ENTRIES_MAX).map(|id| (id.to_string(), Value::from(1))).collect();
        assert!(read(entries).unwrap_err().message.contains("at most 1024 entries"));
    }
}
