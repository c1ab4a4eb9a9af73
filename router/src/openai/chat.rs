//! The body of `POST /v1/chat/completions`, from JSON to a validated [`ChatJob`].

use secateur_proto::ServiceError;
use secateur_transfer::TransferPolicy;
use serde_json::Value;

use super::{
    extension::{self, VisualChoice},
    fields::{Fields, unsupported},
    messages::{self, Message, Picture},
    sampling::{self, SamplingChoice},
    stop::{self, StopConditions},
    unsupported,
};

/// Bounds on one request that do not depend on the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most pictures in one request.
    pub images_max: usize,
    /// Most bytes of one encoded picture.
    pub image_bytes_max: usize,
    /// Size of the vocabulary, the bound of token ids that a client names.
    pub vocab: u32,
}

/// How the answer is streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// A last chunk with usage and receipt.
    pub include_usage: bool,
    /// Usage so far in every chunk.
    pub continuous_usage: bool,
}

/// A validated chat request: nothing in it needs to be checked again, except against the nodes' context length.
#[derive(Debug)]
pub struct ChatJob {
    /// The model that the client named; none: any.
    pub model: Option<String>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The pictures of all messages, in order.
    pub pictures: Vec<Picture>,
    /// Most tokens to generate; none: the rest of the context.
    pub max_tokens: Option<u32>,
    /// The name under which the client gave `max_tokens`, for errors.
    pub max_tokens_field: &'static str,
    /// How tokens are drawn.
    pub sampling: SamplingChoice,
    /// What ends the answer besides the model's own end token.
    pub stop: StopConditions,
    /// Present when the answer is streamed.
    pub stream: Option<StreamOptions>,
    /// Visual pruning.
    pub visual: VisualChoice,
    /// What is shipped; none: `auto`.
    pub transfer: Option<TransferPolicy>,
}

/// Reads and validates a request body.
pub fn parse(body: &Value, limits: &Limits) -> Result<ChatJob, ServiceError> {
    let fields = Fields::of(body, "")?;
    let model = fields.text("model")?.map(str::to_owned);
    let (messages, pictures) = messages::parse(&fields, limits)?;
    only_one_choice(&fields)?;
    unsupported::refuse(&fields)?;
    let (max_tokens_field, max_tokens) = max_tokens(&fields)?;
    let (visual, transfer) = extension::parse(&fields)?;
    Ok(ChatJob {
        model,
        messages,
        pictures,
        max_tokens,
        max_tokens_field,
        sampling: sampling::parse(&fields, limits.vocab)?,
        stop: stop::parse(&fields, limits.vocab, max_tokens)?,
        stream: stream(&fields)?,
        visual,
        transfer,
    })
}

fn only_one_choice(fields: &Fields) -> Result<(), ServiceError> {
    match fields.integer_from("n", 1)? {
        None | Some(1) => Ok(()),
        Some(_) => Err(unsupported("n", "n above 1 is not supported; send one request for each answer")),
    }
}

/// `max_completion_tokens` is OpenAI's newer name and wins.
fn max_tokens(fields: &Fields) -> Result<(&'static str, Option<u32>), ServiceError> {
    let newer = fields.integer_from("max_completion_tokens", 1)?;
    let older = fields.integer_from("max_tokens", 1)?;
    Ok(match newer {
        Some(_) => ("max_completion_tokens", newer),
        None => ("max_tokens", older),
    })
}

fn stream(fields: &Fields) -> Result<Option<StreamOptions>, ServiceError> {
    let streams = fields.flag("stream")?.unwrap_or(false);
    let options = fields.object("stream_options")?;
    match (streams, options) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(fields.invalid("stream_options", "is only allowed when stream is true")),
        (true, None) => Ok(Some(StreamOptions::default())),
        (true, Some(options)) => Ok(Some(StreamOptions {
            include_usage: options.flag("include_usage")?.unwrap_or(false),
            continuous_usage: options.flag("continuous_usage_stats")?.unwrap_or(false),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    const LIMITS: Limits = Limits { images_max: 2, image_bytes_max: 100, vocab: 300 };

    fn with(extra: Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    fn refused(extra: Value) -> ServiceError {
        parse(&with(extra), &LIMITS).unwrap_err()
    }

    #[test]
    fn explicit_nulls_and_unknown_fields_are_accepted() {
        let body = with(json!({
            "temperature": null, "stop": null, "n": null, "tools": null, "stream_options": null, "logit_bias": null,
            "whatever": {"x": 1}, "user": "u", "metadata": {"a": "b"}, "max_tokens": null, "secateur": null,
            "ignore_eos": false, "min_tokens": 0, "repetition_penalty": 1.0, "best_of": 1, "logprobs": false,
        }));
        let job = parse(&body, &LIMITS).unwrap();
        assert_eq!(job.max_tokens, None);
        assert_eq!(job.stream, None);
    }

    #[test]
    fn both_names_of_max_tokens_count() {
        assert_eq!(parse(&with(json!({"max_tokens": 5})), &LIMITS).unwrap().max_tokens, Some(5));
        let both = with(json!({"max_tokens": 5, "max_completion_tokens": 7}));
        assert_eq!(parse(&both, &LIMITS).unwrap().max_tokens, Some(7));
        assert_eq!(refused(json!({"max_tokens": 0})).param.as_deref(), Some("max_tokens"));
    }

    #[test]
    fn more_than_one_choice_is_refused_by_name() {
        let error = refused(json!({"n": 2}));
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some("n")));
        assert_eq!(refused(json!({"n": 0})).code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn supported_parameters_reach_the_job() {
        let body = with(json!({
            "ignore_eos": true, "min_tokens": 3, "max_completion_tokens": 3, "logprobs": true, "top_logprobs": 2,
            "min_p": 0.1, "repetition_penalty": 1.1, "frequency_penalty": 0.5, "presence_penalty": -0.5,
            "logit_bias": {"7": -100}, "stop_token_ids": [9],
        }));
        let job = parse(&body, &LIMITS).unwrap();
        assert_eq!((job.sampling.top_logprobs, job.sampling.logit_bias.len()), (Some(2), 1));
        assert_eq!((job.stop.min_tokens, job.stop.ignores_end_tokens), (3, true));
        let error = refused(json!({"min_tokens": 4, "max_completion_tokens": 3}));
        assert_eq!(error.param.as_deref(), Some("min_tokens"));
    }

    #[test]
    fn stream_options_need_stream() {
        assert_eq!(refused(json!({"stream_options": {}})).param.as_deref(), Some("stream_options"));
        let job = parse(&with(json!({"stream": true, "stream_options": {"include_usage": true}})), &LIMITS).unwrap();
        assert!(job.stream.unwrap().include_usage);
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        assert!(parse(&json!([1]), &LIMITS).is_err());
        assert!(parse(&json!({}), &LIMITS).unwrap_err().param.as_deref() == Some("messages"));
    }
}
