//! Checks that prompt and answer fit the model's context and the pair of nodes with the most room.

use secateur_proto::{ErrorCode, ServiceError};

use crate::{
    cluster::Facts,
    request::{MaxTokens, Picture},
};

/// A request's share of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// Text tokens of the prompt.
    pub text_tokens: u32,
    /// Text and visual tokens of the prompt before pruning, at most. Until the prefill node has counted, the client's
    /// usage shows this upper bound.
    pub prompt_positions_max: u32,
    /// Most tokens of the answer: the rest of the context, or the client's limit if that is less.
    pub max_new_tokens: u32,
    /// Positions that a pair must have room for: the prompt, and the answer if the client gave a limit that fits the
    /// largest pair. An answer without a limit may go to a smaller pair, and ends where that pair's context is full.
    pub positions_needed: u32,
}

/// Counts the prompt of `tokens` tokens, in which each picture is one token, and bounds the answer.
///
/// Where the number of visual tokens depends on a picture's size, only the prefill node, which decodes it, can tell
/// that a prompt is too long. Such a picture counts as one token here, so that nothing is refused that could fit.
///
/// The error for a prompt that is too long names `field`.
pub fn fit(
    max_tokens: &MaxTokens,
    pictures: &[Picture],
    tokens: usize,
    facts: &Facts,
    field: &str,
) -> Result<Fitted, ServiceError> {
    if let Some(picture) = pictures.first()
        && facts.visual_tokens_per_image == 0
    {
        return Err(ServiceError::new(ErrorCode::InvalidRequest, "this model takes no pictures")
            .with_param(picture.param.clone()));
    }
    let pictures = pictures.len();
    let context = u64::from(facts.max_positions);
    let text = tokens.saturating_sub(pictures) as u64;
    let visual_max = pictures as u64 * u64::from(facts.visual_tokens_per_image);
    let visual_min = if facts.visual_tokens_vary { pictures as u64 } else { visual_max };
    let prompt_min = text + visual_min;
    let too_long =
        |message: String, param| Err(ServiceError::new(ErrorCode::ContextLengthExceeded, message).with_param(param));
    let limit = maximum_context_length(facts);
    if prompt_min >= context {
        let least = if facts.visual_tokens_vary && pictures > 0 { "at least " } else { "" };
        return too_long(format!("{limit}; the prompt is {least}{prompt_min} ({visual_min} of them visual)"), field);
    }
    if let (Some(asked), Some(sent)) = (max_tokens.tokens, &max_tokens.sent)
        && u64::from(asked) > context
    {
        return too_long(format!("{limit}; {} asks for {sent}", max_tokens.field), max_tokens.field);
    }
    let prompt_max = text + visual_max;
    let answer = max_tokens.tokens.map(u64::from).filter(|asked| prompt_max + asked <= context).unwrap_or(1);
    let end = max_tokens.total.map_or(context, |total| u64::from(total).clamp(prompt_min + 1, context));
    // These counts are at most the context, which has 32 bits.
    let left = (end - prompt_min) as u32;
    Ok(Fitted {
        text_tokens: text as u32,
        prompt_positions_max: prompt_max.min(context) as u32,
        max_new_tokens: max_tokens.tokens.map_or(left, |asked| asked.min(left)),
        positions_needed: (prompt_max + answer).min(context) as u32,
    })
}

/// Checks that a text of `tokens` tokens fits into the context, without an answer. The error names `field`.
pub fn fits(tokens: usize, facts: &Facts, field: &str) -> Result<(), ServiceError> {
    if tokens as u64 <= u64::from(facts.max_positions) {
        return Ok(());
    }
    let message = format!("{}; the text is {tokens}", maximum_context_length(facts));
    Err(ServiceError::new(ErrorCode::ContextLengthExceeded, message).with_param(field))
}

/// The phrase by which clients recognize an error about length.
const MAXIMUM_CONTEXT_LENGTH: &str = "maximum context length";

fn maximum_context_length(facts: &Facts) -> String {
    format!("this model's {MAXIMUM_CONTEXT_LENGTH} is {} tokens", facts.max_positions)
}

/// Rewrites a prefill node's refusal for length to the wording and field of the router's own; other errors pass
/// through.
pub fn too_long_after_all(error: ServiceError, facts: &Facts, field: &str) -> ServiceError {
    if error.code != ErrorCode::ContextLengthExceeded || error.message.contains(MAXIMUM_CONTEXT_LENGTH) {
        return error;
    }
    let message = format!("{}; {}", maximum_context_length(facts), error.message);
    let param = error.param.unwrap_or_else(|| field.to_owned());
    ServiceError::new(ErrorCode::ContextLengthExceeded, message).with_param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request's `max_tokens` and its number of pictures.
    type Job = (Option<u32>, usize);

    fn fit((max_tokens, pictures): Job, tokens: usize, facts: &Facts) -> Result<Fitted, ServiceError> {
        let picture = || Picture { bytes: bytes::Bytes::new(), param: "messages[0].content[0].image_url".to_owned() };
        let pictures: Vec<Picture> = std::iter::repeat_with(picture).take(pictures).collect();
        let sent = max_tokens.map(|tokens| tokens.to_string());
        let max_tokens = MaxTokens { tokens: max_tokens, field: "max_tokens", sent, total: None };
        super::fit(&max_tokens, &pictures, tokens, facts, "messages")
    }

    fn facts() -> Facts {
        Facts { max_positions: 100, visual_tokens_per_image: 10, ..Default::default() }
    }

    #[test]
    fn pictures_count_before_pruning_and_the_answer_gets_the_rest() {
        let fitted = fit((None, 2), 12, &facts()).unwrap();
        let expected = Fitted { text_tokens: 10, prompt_positions_max: 30, max_new_tokens: 70, positions_needed: 31 };
        assert_eq!(fitted, expected);
        assert_eq!(fit((Some(5), 0), 12, &facts()).unwrap().max_new_tokens, 5);
        assert_eq!(fit((Some(100), 0), 12, &facts()).unwrap().max_new_tokens, 88);
    }

    #[test]
    fn what_was_sent_is_quoted_and_defaults_are_cut() {
        let with = |sent: Option<&str>, total| {
            let sent = sent.map(str::to_owned);
            super::fit(
                &MaxTokens { tokens: Some(u32::MAX), field: "max_tokens", sent, total },
                &[],
                12,
                &facts(),
                "messages",
            )
        };
        assert!(with(Some("1e30"), None).unwrap_err().message.ends_with("max_tokens asks for 1e30"));
        assert_eq!(with(None, None).unwrap().max_new_tokens, 88);
        assert_eq!(with(None, Some(50)).unwrap().max_new_tokens, 38);
        assert_eq!(with(None, Some(5)).unwrap().max_new_tokens, 1);
    }

    #[test]
    fn a_pair_needs_room_for_the_answer_that_was_asked_for_if_that_fits_at_all() {
        let needed = |asked, pictures| fit((asked, pictures), 12, &facts()).unwrap().positions_needed;
        assert_eq!([Some(5), Some(88), Some(89), None].map(|asked| needed(asked, 0)), [17, 100, 13, 13]);
        assert_eq!(needed(Some(70), 2), 100);
        // Pictures of unknown size: only the largest pair can decide whether the prompt is too long.
        let vary = Facts { visual_tokens_vary: true, ..facts() };
        assert_eq!(fit((Some(5), 9), 30, &vary).unwrap().positions_needed, 100);
    }

    #[test]
    fn what_cannot_fit_says_the_maximum_context_length() {
        for (job, tokens, param) in
            [((None, 0), 100, "messages"), ((None, 9), 20, "messages"), ((Some(101), 0), 1, "max_tokens")]
        {
            let error = fit(job, tokens, &facts()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::ContextLengthExceeded, Some(param)));
            assert!(error.message.contains("maximum context length is 100 tokens"), "{error}");
        }
    }

    #[test]
    fn pictures_of_unknown_size_are_refused_only_if_they_cannot_fit() {
        let facts = Facts { visual_tokens_vary: true, ..facts() };
        let fitted = fit((None, 9), 30, &facts).unwrap();
        assert_eq!((fitted.text_tokens, fitted.prompt_positions_max, fitted.max_new_tokens), (21, 100, 70));
        let fitted = fit((None, 2), 12, &facts).unwrap();
        assert_eq!((fitted.text_tokens, fitted.prompt_positions_max, fitted.max_new_tokens), (10, 30, 88));
        let error = fit((None, 9), 100, &facts).unwrap_err();
        assert!(error.message.contains("maximum context length is 100 tokens; the prompt is at least 100"), "{error}");
    }

    #[test]
    fn the_prefill_nodes_refusal_says_the_maximum_context_length() {
        let refused = ServiceError::new(ErrorCode::ContextLengthExceeded, "the prompt fills 120 positions");
        let error = too_long_after_all(refused, &facts(), "messages");
        assert_eq!(error.message, "this model's maximum context length is 100 tokens; the prompt fills 120 positions");
        assert_eq!(error.param.as_deref(), Some("messages"));
        assert_eq!(too_long_after_all(error.clone(), &facts(), "prompt"), error);
        let other = ServiceError::new(ErrorCode::InvalidImage, "broken");
        assert_eq!(too_long_after_all(other.clone(), &facts(), "prompt"), other);
    }

    #[test]
    fn a_text_without_an_answer_may_fill_the_context() {
        assert_eq!(fits(100, &facts(), "input"), Ok(()));
        let error = fits(101, &facts(), "input[3]").unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::ContextLengthExceeded, Some("input[3]")));
        assert_eq!(error.message, "this model's maximum context length is 100 tokens; the text is 101");
    }

    #[test]
    fn an_answer_may_be_empty() {
        let fitted = fit((Some(0), 0), 12, &facts()).unwrap();
        assert_eq!((fitted.max_new_tokens, fitted.positions_needed), (0, 12));
    }

    #[test]
    fn a_text_model_refuses_pictures() {
        let facts = Facts { visual_tokens_per_image: 0, ..facts() };
        assert_eq!(fit((None, 1), 5, &facts).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
