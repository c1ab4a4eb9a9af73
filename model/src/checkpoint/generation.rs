//! `generation_config.json`: which tokens end an answer, and how the model wants to be sampled.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::checkpoint::json;
use crate::error::{ModelError, Result};

#[derive(Default, Deserialize)]
struct AsTyped {
    eos_token_id: Option<Value>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// What the checkpoint says of sampling, for requests that do not say. `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// 0 where the checkpoint asks for greedy decoding, that is, where it says `do_sample: false`.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that together have this probability.
    pub top_p: Option<f32>,
    /// Only this many of the likeliest tokens; 0 for no such limit.
    pub top_k: Option<u32>,
    /// Only tokens at least this likely compared with the likeliest.
    pub min_p: Option<f32>,
    /// Above 1: tokens that already occur become less likely.
    pub repetition_penalty: Option<f32>,
}

impl GenerationDefaults {
    /// Reads `generation_config.json` in `dir`; without the file there are no defaults.
    pub fn read(dir: &Path) -> Result<GenerationDefaults, ModelError> {
        GenerationDefaults::validate(&typed(dir)?)
    }

    fn validate(typed: &AsTyped) -> Result<GenerationDefaults> {
        let temperature = if typed.do_sample == Some(false) { Some(0.0) } else { typed.temperature };
        let defaults = GenerationDefaults {
            temperature,
            top_p: typed.top_p,
            top_k: typed.top_k,
            min_p: typed.min_p,
            repetition_penalty: typed.repetition_penalty,
        };
        let ranges = [
            ("temperature", defaults.temperature, 0.0, f32::MAX),
            ("top_p", defaults.top_p, 0.0, 1.0),
            ("min_p", defaults.min_p, 0.0, 1.0),
            ("repetition_penalty", defaults.repetition_penalty, f32::MIN_POSITIVE, f32::MAX),
        ];
        for (key, value, min, max) in ranges {
            if value.is_some_and(|value| !(min..=max).contains(&value)) {
                let problem = format!("{} is out of range", value.unwrap_or_default());
                return Err(ModelError::config(format!("generation_config.{key}"), problem));
            }
        }
        Ok(defaults)
    }
}

/// The end tokens that the file names; `None` without a file or without the key.
pub(crate) fn eos_token_ids(dir: &Path) -> Result<Option<Vec<u32>>> {
    let value = typed(dir)?.eos_token_id;
    value.map(|value| token_ids(&value, "generation_config.eos_token_id")).transpose()
}

fn typed(dir: &Path) -> Result<AsTyped> {
    Ok(json::read_optional(&dir.join("generation_config.json"))?.unwrap_or_default())
}

/// One token id, a list of them, or null for none.
pub(crate) fn token_ids(value: &Value, field: &str) -> Result<Vec<u32>> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        single => one(single).map(|id| vec![id]),
    };
    ids.ok_or_else(|| ModelError::config(field, format!("`{value}` is not a token id or a list of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_a_list_and_null_are_all_in_use() {
        let ids = |json: &str| token_ids(&serde_json::from_str(json).unwrap(), "eos");
        assert_eq!(ids("2").unwrap(), [2]);
        assert_eq!(ids("[1, 9]").unwrap(), [1, 9]);
        assert!(ids("null").unwrap().is_empty());
        assert!(ids("\"</s>\"").is_err() && ids("-1").is_err() && ids("[2, null]").is_err());
    }
    fn defaults(json: &str) -> Result<GenerationDefaults> {
        GenerationDefaults::validate(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn sampling_is_as_the_file_says() {
        // Of Qwen/Qwen2.5-VL-3B-Instruct, as it is on the hub.
        let json = r#"{"bos_token_id": 151643, "pad_token_id": 151643, "do_sample": true,
            "eos_token_id": [151645, 151643], "repetition_penalty": 1.05, "temperature": 0.000001}"#;
        let expected = GenerationDefaults {
            temperature: Some(1e-6),
            repetition_penalty: Some(1.05),
            ..GenerationDefaults::default()
        };
        assert_eq!(defaults(json).unwrap(), expected);
        assert_eq!(defaults("{}").unwrap(), GenerationDefaults::default());
    }

    #[test]
    fn not_to_sample_is_temperature_0() {
        let found = defaults(r#"{"do_sample": false, "temperature": 0.9, "top_k": 5}"#).unwrap();
        assert_eq!((found.temperature, found.top_k), (Some(0.0), Some(5)));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [r#"{"top_p": 1.5}"#, r#"{"temperature": -1}"#, r#"{"repetition_penalty": 0}"#] {
            assert!(matches!(defaults(json), Err(ModelError::Config { .. })), "{json}");
        }
    }
}
