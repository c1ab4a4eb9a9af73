//! Whether prompt and answer fit the model's positions.

use secateur_proto::{ErrorCode, ServiceError};

use crate::{cluster::Facts, openai::ChatJob};

/// A request's share of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Text and all visual tokens, before pruning: an upper bound, and what the client is told it sent.
    pub prompt_positions: u32,
    /// What is left for the answer, or what was asked for if that is less.
    pub max_new_tokens: u32,
}

/// Counts the prompt of `tokens` tokens, in which each picture is one, and bounds the answer.
pub fn fit(job: &ChatJob, tokens: usize, facts: &Facts) -> Result<Fitted, ServiceError> {
    let pictures = job.pictures.len();
    if let Some(picture) = job.pictures.first()
        && facts.visual_tokens_per_image == 0
    {
        return Err(ServiceError::new(ErrorCode::InvalidRequest, "this model takes no pictures")
            .with_param(picture.param.clone()));
    }
    let context = u64::from(facts.max_positions);
    let visual = pictures as u64 * u64::from(facts.visual_tokens_per_image);
    let prompt = (tokens - pictures.min(tokens)) as u64 + visual;
    let too_long =
        |message: String, param| Err(ServiceError::new(ErrorCode::ContextLengthExceeded, message).with_param(param));
    let limit = format!("this model's maximum context length is {context} tokens");
    if prompt >= context {
        return too_long(format!("{limit}; the messages are {prompt} ({visual} of them visual)"), "messages");
    }
    if let Some(asked) = job.max_tokens
        && u64::from(asked) > context
    {
        return too_long(format!("{limit}; {} asks for {asked}", job.max_tokens_field), job.max_tokens_field);
    }
    // Both fit in 32 bits, as the context does.
    let left = (context - prompt) as u32;
    Ok(Fitted { prompt_positions: prompt as u32, max_new_tokens: job.max_tokens.map_or(left, |asked| asked.min(left)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::{Limits, chat};
    use serde_json::{Value, json};

    fn job(extra: Value, pictures: usize) -> ChatJob {
        let part = json!({"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="});
        let mut body = json!({"messages": [{"role": "user", "content": vec![part; pictures]}]});
        if let Some(max_tokens) = extra.as_u64() {
            body["max_tokens"] = max_tokens.into();
        }
        chat::parse(&body, &Limits { images_max: 9, image_bytes_max: 99, vocab: 9 }).unwrap()
    }

    fn facts() -> Facts {
        Facts { max_positions: 100, visual_tokens_per_image: 10, ..Default::default() }
    }

    #[test]
    fn pictures_count_before_pruning_and_the_answer_gets_the_rest() {
        let fitted = fit(&job(Value::Null, 2), 12, &facts()).unwrap();
        assert_eq!(fitted, Fitted { prompt_positions: 30, max_new_tokens: 70 });
        assert_eq!(fit(&job(json!(5), 0), 12, &facts()).unwrap().max_new_tokens, 5);
        assert_eq!(fit(&job(json!(100), 0), 12, &facts()).unwrap().max_new_tokens, 88);
    }

    #[test]
    fn what_cannot_fit_says_the_maximum_context_length() {
        for (job, tokens, param) in [
            (job(Value::Null, 0), 100, "messages"),
            (job(Value::Null, 9), 20, "messages"),
            (job(json!(101), 0), 1, "max_tokens"),
        ] {
            let error = fit(&job, tokens, &facts()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::ContextLengthExceeded, Some(param)));
            assert!(error.message.contains("maximum context length is 100 tokens"), "{error}");
        }
    }

    #[test]
    fn a_text_model_refuses_pictures() {
        let facts = Facts { visual_tokens_per_image: 0, ..facts() };
        assert_eq!(fit(&job(Value::Null, 1), 5, &facts).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
