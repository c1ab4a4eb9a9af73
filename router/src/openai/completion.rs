//! The body of `POST /v1/completions`, from JSON to a validated [`CompletionJob`].

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    fields::{Fields, invalid, unsupported, whole},
    generation::{self, Dialect},
    sampling::TOP_LOGPROBS_MAX,
    unsupported,
};
use crate::request::{CHOICES_MAX, Generation, Limits, RawPrompt, Words};

/// Most tokens of an answer if the request gives no limit, as in OpenAI's API.
const MAX_TOKENS_DEFAULT: u32 = 16;

/// A validated text request: nothing in it needs to be checked again, except against tokenizer and context length.
#[derive(Debug)]
pub struct CompletionJob {
    /// The parts of the request besides its prompts.
    pub generation: Generation,
    /// The prompts; there is at least one.
    pub prompts: Vec<RawPrompt>,
    /// Whether the tokenizer adds its special tokens, such as the one that begins a sequence, to text prompts.
    pub adds_special_tokens: bool,
    /// Whether the prompt is returned before the answer.
    pub echoes: bool,
}

/// Reads and validates a request body.
pub fn parse(body: &Value, limits: &Limits) -> Result<CompletionJob, ServiceError> {
    let fields = Fields::of(body, "")?;
    unsupported::refuse_besides(&fields, &["echo", "add_special_tokens"])?;
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unsupported("suffix", "suffix is not supported; leave it out"));
    }
    let dialect = Dialect { max_tokens_default: Some(MAX_TOKENS_DEFAULT), top_logprobs };
    let generation = generation::parse(&fields, limits, dialect)?;
    let prompts = prompts(&fields, limits.vocab)?;
    if prompts.len() as u64 * u64::from(generation.choices) > u64::from(CHOICES_MAX) {
        return Err(fields.invalid("prompt", format!("times n must be at most {CHOICES_MAX} answers")));
    }
    let echoes = fields.flag("echo")?.unwrap_or(false);
    if echoes && generation.sampling.top_logprobs.is_some() {
        return Err(unsupported("echo", "echo with logprobs is not supported: prompts are not scored"));
    }
    let adds_special_tokens = fields.flag("add_special_tokens")?.unwrap_or(true);
    Ok(CompletionJob { generation, prompts, adds_special_tokens, echoes })
}

/// Reads `logprobs`, which in this API is the number of alternatives.
fn top_logprobs(fields: &Fields) -> Result<Option<u32>, ServiceError> {
    match fields.integer_from("logprobs", 0)? {
        Some(top) if top > TOP_LOGPROBS_MAX => {
            Err(fields.out_of_range("logprobs", format!("between 0 and {TOP_LOGPROBS_MAX}")))
        }
        top => Ok(top),
    }
}

/// Reads `prompt`: a string, a list of token ids, or a list of either.
fn prompts(fields: &Fields, vocab: u32) -> Result<Vec<RawPrompt>, ServiceError> {
    let path = fields.path("prompt");
    match fields.get("prompt") {
        None => Err(fields.invalid("prompt", "is required")),
        Some(Value::Array(values)) if values.is_empty() => Err(fields.invalid("prompt", "must not be empty")),
        Some(Value::Array(values)) if values.iter().any(|value| value.is_string() || value.is_array()) => {
            if values.len() > CHOICES_MAX as usize {
                return Err(fields.invalid("prompt", format!("may hold at most {CHOICES_MAX} prompts")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    const LIMITS: Limits = Limits { images_max: 2, image_bytes_max: 100, vocab: 300 };

    fn read(body: Value) -> Result<CompletionJob, ServiceError> {
        parse(&body, &LIMITS)
    }

    #[test]
    fn prompts_come_in_four_shapes() {
        for (prompt, expected) in [
            (json!("a"), vec![("prompt", Words::Text("a".into()))]),
            (json!(["a", "b"]), vec![("prompt[0]", Words::Text("a".into())), ("prompt[1]", Words::Text("b".into()))]),
            (json!([1, 2.0]), vec![("prompt", Words::Tokens(vec![1, 2]))]),
            (json!([[1], [2]]), vec![("prompt[0]", Words::Tokens(vec![1])), ("prompt[1]", Words::Tokens(vec![2]))]),
            (json!(""), vec![("prompt", Words::Text(String::new()))]),
        ] {
            let prompts = read(json!({"prompt": prompt})).unwrap().prompts;
            let found: Vec<_> = prompts.into_iter().map(|prompt| (prompt.param, prompt.words)).collect();
            let expected: Vec<_> = expected.into_iter().map(|(param, words)| (param.to_owned(), words)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param, code) in [
            (json!({}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": []}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": [[]]}), "prompt[0]", ErrorCode::InvalidRequest),
            (json!({"prompt": 5}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": ["a", 5]}), "prompt[1]", ErrorCode::InvalidRequest),
            (json!({"prompt": [300]}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": [-1]}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": vec!["a"; 129]}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": ["a", "b"], "n": 65}), "prompt", ErrorCode::InvalidRequest),
            (json!({"prompt": "a", "n": 129}), "n", ErrorCode::InvalidRequest),
            (json!({"prompt": "a", "logprobs": 21}), "logprobs", ErrorCode::InvalidRequest),
            (json!({"prompt": "a", "logprobs": true}), "logprobs", ErrorCode::InvalidRequest),
            (json!({"prompt": "a", "suffix": "b"}), "suffix", ErrorCode::UnsupportedParameter),
            (json!({"prompt": "a", "best_of": 3, "n": 2}), "best_of", ErrorCode::UnsupportedParameter),
            (json!({"prompt": "a", "echo": true, "logprobs": 1}), "echo", ErrorCode::UnsupportedParameter),
            (json!({"prompt": "a", "secateur": {"x": 1}}), "secateur.x", ErrorCode::InvalidRequest),
        ] {
            let error = read(body.clone()).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{body}");
        }
    }

    #[test]
    fn defaults_are_openais() {
        let job = read(json!({"prompt": "a", "echo": null, "suffix": null, "n": null, "best_of": null})).unwrap();
        assert_eq!(job.generation.max_tokens.tokens, Some(16));
        assert_eq!(job.generation.choices, 1);
        assert!(job.adds_special_tokens && !job.echoes);
        let job = read(json!({"prompt": "a", "n": 2, "best_of": 2, "logprobs": 0, "echo": false})).unwrap();
        assert_eq!((job.generation.choices, job.generation.sampling.top_logprobs), (2, Some(0)));
    }
}
