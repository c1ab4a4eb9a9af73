//! The body of `POST /v1/completions`, from JSON to a validated [`CompletionJob`].

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    fields::{Fields, unsupported},
    generation::{self, Dialect},
    prompts,
    sampling::TOP_LOGPROBS_MAX,
    unsupported,
};
use crate::request::{CHOICES_MAX, Generation, Limits, RawPrompt};

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
    unsupported::refuse_besides(&fields, &["echo", "add_special_tokens", "prompt_logprobs"])?;
    if fields.text("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unsupported("suffix", "suffix is not supported; leave it out"));
    }
    let echoes = fields.flag("echo")?.unwrap_or(false);
    let max_tokens_least = u32::from(!echoes);
    let dialect = Dialect { max_tokens_default: Some(MAX_TOKENS_DEFAULT), max_tokens_least, top_logprobs };
    let generation = generation::parse(&fields, limits, dialect)?;
    let prompts = prompts::parse(&fields, "prompt", limits.vocab, CHOICES_MAX as usize)?;
    if prompts.len() as u64 * u64::from(generation.choices) > u64::from(CHOICES_MAX) {
        return Err(fields.invalid("prompt", format!("times n must be at most {CHOICES_MAX} answers")));
    }
    if echoes && generation.sampling.top_logprobs.is_some() && generation.stream.is_some() {
        let message = "echo with logprobs cannot be combined with stream; leave one of them out";
        return Err(unsupported("echo", message));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Words;
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
            (
                json!({"prompt": "a", "echo": true, "logprobs": 1, "stream": true}),
                "echo",
                ErrorCode::UnsupportedParameter,
            ),
            (json!({"prompt": "a", "max_tokens": 0}), "max_tokens", ErrorCode::InvalidRequest),
            (
                json!({"prompt": "a", "prompt_logprobs": 1, "stream": true}),
                "prompt_logprobs",
                ErrorCode::UnsupportedParameter,
            ),
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

    #[test]
    fn a_returned_prompt_may_be_scored_and_may_be_all_there_is() {
        let job = read(json!({"prompt": "a", "echo": true, "logprobs": 2, "max_tokens": 0})).unwrap();
        assert_eq!(job.generation.max_tokens.tokens, Some(0));
        assert!(job.echoes && job.generation.sampling.top_logprobs == Some(2));
        assert_eq!(
            read(json!({"prompt": "a", "echo": true, "max_tokens": 0, "stream": true})).unwrap().prompts.len(),
            1
        );
        let job = read(json!({"prompt": "a", "prompt_logprobs": 20})).unwrap();
        assert_eq!(job.generation.sampling.prompt_logprobs, Some(20));
    }
}
