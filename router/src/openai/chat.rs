//! The body of `POST /v1/chat/completions`, from JSON to a validated [`ChatJob`].

use secateur_proto::ServiceError;
use serde_json::Value;

use super::{
    extension,
    fields::Fields,
    generation::{self, Dialect},
    messages,
    sampling::TOP_LOGPROBS_MAX,
    template_kwargs, tools, unsupported,
};
use crate::request::{ChatJob, Field, Generation, Limits, Opening, SentPicture, VisualChoice};

/// Parameters of chat requests that other requests do not have.
const SUPPORTED: [&str; 7] = [
    "chat_template_kwargs",
    "tools",
    "tool_choice",
    "add_generation_prompt",
    "continue_final_message",
    "prompt_logprobs",
    REASONING_EFFORT,
];
/// How much the model is to think before it answers; templates read it under the same name.
pub const REASONING_EFFORT: &str = "reasoning_effort";

/// Reads and validates a request body.
pub fn parse(body: &Value, limits: &Limits) -> Result<ChatJob, ServiceError> {
    let fields = Fields::of(body, "")?;
    let (messages, pictures) = messages::parse(&fields, limits)?;
    unsupported::refuse_besides(&fields, &SUPPORTED)?;
    let mut template_kwargs = template_kwargs::parse(&fields)?;
    let dialect = Dialect { max_tokens_default: None, max_tokens_least: 1, top_logprobs };
    let tools = tools::parse(&fields)?;
    if let (Some(_), Some(list)) = (&tools, fields.get("tools")) {
        template_kwargs.push(Field { name: "tools".to_owned(), value: list.clone(), param: "tools".to_owned() });
    }
    // `none` is the effort of a model that was not asked to think.
    if let Some(effort) = fields.text(REASONING_EFFORT)?.filter(|effort| *effort != "none") {
        let [name, param] = [REASONING_EFFORT.to_owned(), REASONING_EFFORT.to_owned()];
        template_kwargs.push(Field { name, value: effort.into(), param });
    }
    let opening = opening(&fields)?;
    let mut generation = Generation { tools, ..generation::parse(&fields, limits, dialect)? };
    if are_all_low(&pictures) && !extension::chooses_visual(&fields)? {
        generation.visual = VisualChoice::LOW_DETAIL;
    }
    Ok(ChatJob { generation, messages, pictures, opening, template_kwargs })
}

/// Reads `continue_final_message` and `add_generation_prompt`.
fn opening(fields: &Fields) -> Result<Opening, ServiceError> {
    let opens = fields.flag("add_generation_prompt")?;
    match (fields.flag("continue_final_message")?.unwrap_or(false), opens) {
        (true, Some(true)) => {
            Err(fields.invalid("continue_final_message", "cannot be combined with add_generation_prompt"))
        }
        (true, _) => Ok(Opening::Continue),
        (false, Some(false)) => Ok(Opening::Nothing),
        (false, _) => Ok(Opening::Answer),
    }
}

/// Whether every picture is sent with little detail asked for. The policy is one for all pictures of a request, so one
/// that needs more decides for all.
fn are_all_low(pictures: &[SentPicture]) -> bool {
    !pictures.is_empty() && pictures.iter().all(|picture| picture.is_low)
}

/// Reads `logprobs`, which requests the log probabilities of the drawn tokens, and `top_logprobs`, the number of
/// alternatives. A `top_logprobs` of 0 is allowed without `logprobs`.
fn top_logprobs(fields: &Fields) -> Result<Option<u32>, ServiceError> {
    let is_asked = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.integer_from("top_logprobs", 0)?;
    match top {
        Some(top) if top > TOP_LOGPROBS_MAX => {
            Err(fields.out_of_range("top_logprobs", format!("between 0 and {TOP_LOGPROBS_MAX}")))
        }
        Some(1..) if !is_asked => Err(fields.invalid("top_logprobs", "is only allowed when logprobs is true")),
        top => Ok(is_asked.then_some(top.unwrap_or(0))),
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
        assert_eq!(job.generation.max_tokens.tokens, None);
        assert_eq!(job.generation.stream, None);
    }

    #[test]
    fn both_names_of_max_tokens_count() {
        let max = |extra| parse(&with(extra), &LIMITS).unwrap().generation.max_tokens.tokens;
        assert_eq!(max(json!({"max_tokens": 5})), Some(5));
        assert_eq!(max(json!({"max_tokens": 5, "max_completion_tokens": 7})), Some(7));
        assert_eq!(refused(json!({"max_tokens": 0})).param.as_deref(), Some("max_tokens"));
    }

    #[test]
    fn choices_are_counted_and_bounded() {
        assert_eq!(parse(&with(json!({"n": 4, "best_of": 4})), &LIMITS).unwrap().generation.choices, 4);
        assert_eq!(refused(json!({"n": 0})).code, ErrorCode::InvalidRequest);
        assert_eq!(refused(json!({"n": 129})).param.as_deref(), Some("n"));
        let error = refused(json!({"n": 2, "best_of": 4}));
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some("best_of")));
    }

    #[test]
    fn log_probabilities_are_asked_for_and_then_counted() {
        let top = |extra| parse(&with(extra), &LIMITS).map(|job| job.generation.sampling.top_logprobs);
        assert_eq!(top(json!({})).unwrap(), None);
        assert_eq!(top(json!({"logprobs": false, "top_logprobs": 0})).unwrap(), None);
        assert_eq!(top(json!({"logprobs": true})).unwrap(), Some(0));
        assert_eq!(top(json!({"logprobs": true, "top_logprobs": 20})).unwrap(), Some(20));
        let error = top(json!({"logprobs": true, "top_logprobs": 21})).unwrap_err();
        assert_eq!(error.message, "top_logprobs must be between 0 and 20, not 21");
        for (extra, param) in [
            (json!({"logprobs": 5}), "logprobs"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"top_logprobs": -1, "logprobs": true}), "top_logprobs"),
        ] {
            assert_eq!(top(extra).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn supported_parameters_reach_the_job() {
        let body = with(json!({
            "ignore_eos": true, "min_tokens": 3, "max_completion_tokens": 3, "logprobs": true, "top_logprobs": 2,
            "min_p": 0.1, "repetition_penalty": 1.1, "frequency_penalty": 0.5, "presence_penalty": -0.5,
            "logit_bias": {"7": -100}, "stop_token_ids": [9],
        }));
        let job = parse(&body, &LIMITS).unwrap().generation;
        assert_eq!((job.sampling.top_logprobs, job.sampling.logit_bias.len()), (Some(2), 1));
        assert_eq!((job.stop.min_tokens, job.stop.ignores_end_tokens), (3, true));
        let error = refused(json!({"min_tokens": 4, "max_completion_tokens": 3}));
        assert_eq!(error.param.as_deref(), Some("min_tokens"));
    }

    #[test]
    fn low_detail_of_all_pictures_prunes_unless_the_request_chooses() {
        let visual = |details: &[&str], secateur: Value| {
            let part = |detail: &&str| json!({"type": "image_url", "image_url": {"url": "https://a.test/b.png", "detail": detail}});
            let content: Vec<Value> = details.iter().map(part).collect();
            let body = json!({"messages": [{"role": "user", "content": content}], "secateur": secateur});
            parse(&body, &LIMITS).unwrap().generation.visual
        };
        assert_eq!(visual(&["low", "low"], json!({"transfer": {"policy": "dense"}})), VisualChoice::LOW_DETAIL);
        assert_eq!(visual(&["low", "high"], Value::Null), VisualChoice::default());
        assert_eq!(visual(&["low"], json!({"visual": {"method": "auto"}})), VisualChoice::default());
        assert_eq!(visual(&["low"], json!({"visual": {"keep": 0.5}})).keep, Some(0.5));
        assert_eq!(visual(&[], Value::Null), VisualChoice::default());
    }

    #[test]
    fn each_url_is_wanted_once() {
        let part = |url: &str| json!({"type": "image_url", "image_url": url});
        let content = [part("http://a.test/b"), part("http://a.test/b")];
        let job = parse(&json!({"messages": [{"role": "user", "content": content}]}), &LIMITS).unwrap();
        let params: Vec<_> = job.urls().into_iter().map(|wanted| wanted.param).collect();
        assert_eq!((job.pictures.len(), params), (2, vec!["messages[0].content[0].image_url".to_owned()]));
    }

    #[test]
    fn prompts_are_scored_where_the_reply_is_not_streamed() {
        let job = parse(&with(json!({"prompt_logprobs": 2})), &LIMITS).unwrap();
        assert_eq!(job.generation.sampling.prompt_logprobs, Some(2));
        let error = refused(json!({"prompt_logprobs": 0, "stream": true}));
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some("prompt_logprobs")));
    }

    #[test]
    fn stream_options_need_stream() {
        assert_eq!(refused(json!({"stream_options": {}})).param.as_deref(), Some("stream_options"));
        let job = parse(&with(json!({"stream": true, "stream_options": {"include_usage": true}})), &LIMITS).unwrap();
        assert!(job.generation.stream.unwrap().include_usage);
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        assert!(parse(&json!([1]), &LIMITS).is_err());
        assert!(parse(&json!({}), &LIMITS).unwrap_err().param.as_deref() == Some("messages"));
    }
}
