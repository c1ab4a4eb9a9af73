//! How tokens are drawn, and what ends the answer.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, invalid, whole};

/// Sampling as far as the client said; the rest comes from the model's generation defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingChoice {
    /// [0, 2]; 0 is greedy.
    pub temperature: Option<f64>,
    /// (0, 1].
    pub top_p: Option<f64>,
    /// 0: off.
    pub top_k: Option<u32>,
    /// Folded to 64 bits.
    pub seed: Option<u64>,
}

/// What ends an answer besides the model's own end token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopConditions {
    /// Texts that are cut off with everything after them.
    pub texts: Vec<String>,
    /// Further end tokens.
    pub token_ids: Vec<u32>,
}

const STOP_TEXTS_MAX: usize = 64;
const STOP_TEXT_CHARS_MAX: usize = 1_000;

/// Reads temperature, top_p, top_k and seed.
pub fn parse(fields: &Fields) -> Result<SamplingChoice, ServiceError> {
    Ok(SamplingChoice {
        temperature: fields.number_where("temperature", "between 0 and 2", |value| (0.0..=2.0).contains(&value))?,
        top_p: fields.number_where("top_p", "above 0 and at most 1", |value| value > 0.0 && value <= 1.0)?,
        top_k: top_k(fields)?,
        seed: fields.get("seed").map(|value| seed(fields, value)).transpose()?,
    })
}

/// vLLM's clients switch top-k off with -1, others with 0.
fn top_k(fields: &Fields) -> Result<Option<u32>, ServiceError> {
    match fields.integer("top_k")? {
        None => Ok(None),
        Some(-1) => Ok(Some(0)),
        Some(number) if number < -1 => Err(fields.invalid("top_k", "must be -1 or 0 (off), or at least 1")),
        Some(number) => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
    }
}

/// Any integer is a seed. Beyond 64 bits it is hashed down, since JSON has already rounded it.
fn seed(fields: &Fields, value: &Value) -> Result<u64, ServiceError> {
    if let Some(seed) = value.as_u64() {
        return Ok(seed);
    }
    if let Some(seed) = value.as_i64() {
        return Ok(seed as u64);
    }
    if whole(value).is_none() {
        return Err(fields.invalid("seed", "must be an integer"));
    }
    let digest = blake3::hash(value.to_string().as_bytes());
    Ok(u64::from_le_bytes(std::array::from_fn(|index| digest.as_bytes()[index])))
}

/// Reads `stop` and vLLM's `stop_token_ids`.
pub fn parse_stop(fields: &Fields, vocab: u32) -> Result<StopConditions, ServiceError> {
    Ok(StopConditions { texts: stop_texts(fields)?, token_ids: stop_token_ids(fields, vocab)? })
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

    fn sampling(body: &str) -> Result<SamplingChoice, ServiceError> {
        let body: Value = serde_json::from_str(body).unwrap();
        parse(&Fields::of(&body, "").unwrap())
    }

    fn stop(body: &str) -> Result<StopConditions, ServiceError> {
        let body: Value = serde_json::from_str(body).unwrap();
        parse_stop(&Fields::of(&body, "").unwrap(), 300)
    }

    #[test]
    fn odd_numbers_survive() {
        assert_eq!(sampling(r#"{"temperature": 1e-300}"#).unwrap().temperature, Some(1e-300));
        assert_eq!(sampling(r#"{"seed": -1}"#).unwrap().seed, Some(u64::MAX));
        let big = sampling(r#"{"seed": 123456789012345678901234567890}"#).unwrap().seed;
        assert!(big.is_some());
        assert_eq!(big, sampling(r#"{"seed": 123456789012345678901234567890}"#).unwrap().seed);
        assert_eq!(sampling(r#"{"top_k": -1}"#).unwrap().top_k, Some(0));
        assert_eq!(sampling(r#"{"top_k": 1e30}"#).unwrap().top_k, Some(u32::MAX));
    }

    #[test]
    fn ranges_are_checked_by_name() {
        for (body, param) in [
            (r#"{"temperature": -0.1}"#, "temperature"),
            (r#"{"temperature": 2.1}"#, "temperature"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_p": 0}"#, "top_p"),
            (r#"{"top_p": 1.5}"#, "top_p"),
            (r#"{"top_k": -2}"#, "top_k"),
            (r#"{"seed": 1.5}"#, "seed"),
            (r#"{"seed": "x"}"#, "seed"),
        ] {
            assert_eq!(sampling(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
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
}
