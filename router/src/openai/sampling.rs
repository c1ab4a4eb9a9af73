//! Reads how tokens are drawn, and what is reported about them.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    fields::{Fields, whole},
    logit_bias, structured,
};
use crate::request::SamplingChoice;

/// Most alternatives that are reported for one token.
pub const TOP_LOGPROBS_MAX: u32 = 20;

/// Reads the sampling parameters; token ids must be below `vocab`. Chat and text requests ask for log probabilities
/// differently, so the caller reads `top_logprobs`.
pub fn parse(fields: &Fields, vocab: u32, top_logprobs: Option<u32>) -> Result<SamplingChoice, ServiceError> {
    let penalty = |key| fields.number_where(key, "between -2 and 2", |value| (-2.0..=2.0).contains(&value));
    Ok(SamplingChoice {
        temperature: fields.number_where("temperature", "between 0 and 2", |value| (0.0..=2.0).contains(&value))?,
        top_p: fields.number_where("top_p", "above 0 and at most 1", |value| value > 0.0 && value <= 1.0)?,
        top_k: top_k(fields)?,
        seed: fields.get("seed").map(|value| seed(fields, value)).transpose()?,
        min_p: fields.number_where("min_p", "between 0 and 1", |value| (0.0..=1.0).contains(&value))?,
        repetition_penalty: fields.number_where("repetition_penalty", "above 0", |value| value > 0.0)?,
        frequency_penalty: penalty("frequency_penalty")?,
        presence_penalty: penalty("presence_penalty")?,
        logit_bias: logit_bias::parse(fields, vocab)?,
        top_logprobs,
        prompt_logprobs: prompt_logprobs(fields)?,
        tokens_as_ids: fields.flag("return_tokens_as_token_ids")?.unwrap_or(false),
        forced: Vec::new(),
        structured: structured::parse(fields)?,
    })
}

/// Reads vLLM's `prompt_logprobs`, the number of alternatives to each token of the prompt.
fn prompt_logprobs(fields: &Fields) -> Result<Option<u32>, ServiceError> {
    match fields.integer("prompt_logprobs")? {
        None => Ok(None),
        Some(top) => match u32::try_from(top) {
            Ok(top) if top <= TOP_LOGPROBS_MAX => Ok(Some(top)),
            _ => Err(fields.out_of_range("prompt_logprobs", format!("between 0 and {TOP_LOGPROBS_MAX}"))),
        },
    }
}

/// Reads `top_k`, which vLLM's clients switch off with -1 and others with 0.
fn top_k(fields: &Fields) -> Result<Option<u32>, ServiceError> {
    match fields.integer("top_k")? {
        None => Ok(None),
        Some(-1) => Ok(Some(0)),
        Some(number) if number < -1 => Err(fields.invalid("top_k", "must be -1 or 0 (off), or at least 1")),
        Some(number) => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
    }
}

/// Reads `seed`: any integer. One beyond 64 bits is hashed to 64 bits; the JSON parser has already rounded it.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(body: &str) -> Result<SamplingChoice, ServiceError> {
        let body: Value = serde_json::from_str(body).unwrap();
        parse(&Fields::of(&body, "").unwrap(), 300, None)
    }

    #[test]
    fn odd_numbers_survive() {
        assert_eq!(sampling(r#"{"temperature": 1e-300}"#).unwrap().temperature, Some(1e-300));
        assert_eq!(sampling(r#"{"seed": -1}"#).unwrap().seed, Some(u64::MAX));
        assert_eq!(sampling(r#"{"prompt_logprobs": 0}"#).unwrap().prompt_logprobs, Some(0));
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
            (r#"{"min_p": -0.1}"#, "min_p"),
            (r#"{"min_p": 1.1}"#, "min_p"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
            (r#"{"repetition_penalty": "x"}"#, "repetition_penalty"),
            (r#"{"frequency_penalty": 2.1}"#, "frequency_penalty"),
            (r#"{"presence_penalty": -2.1}"#, "presence_penalty"),
            (r#"{"logit_bias": {"300": 1}}"#, "logit_bias"),
            (r#"{"prompt_logprobs": -1}"#, "prompt_logprobs"),
            (r#"{"prompt_logprobs": 21}"#, "prompt_logprobs"),
            (r#"{"prompt_logprobs": true}"#, "prompt_logprobs"),
        ] {
            assert_eq!(sampling(body).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
