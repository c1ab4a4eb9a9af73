//! What chat and text requests share: everything but the prompt.

use secateur_proto::ServiceError;

use super::{
    extension::{self, Extension},
    fields::{Fields, invalid, unsupported},
    max_tokens, sampling, stop, urgency,
};
use crate::request::{CHOICES_MAX, Generation, Limits, SamplingChoice, StreamOptions};

/// Differences between chat and text requests in the parts that they share.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Limit of the answer if the request gives none; `None` means the rest of the context.
    pub max_tokens_default: Option<u32>,
    /// The smallest `max_tokens`: 0 where a request may want its prompt back and nothing more.
    pub max_tokens_least: u32,
    /// Reads whether log probabilities are requested, and for how many alternatives to each drawn token.
    pub top_logprobs: fn(&Fields) -> Result<Option<u32>, ServiceError>,
}

/// Reads everything but the prompt.
pub fn parse(fields: &Fields, limits: &Limits, dialect: Dialect) -> Result<Generation, ServiceError> {
    let max_tokens = max_tokens::parse(fields, dialect.max_tokens_default, dialect.max_tokens_least)?;
    let Extension { visual, transfer, forced } = extension::parse(fields, limits.vocab)?;
    let sampling = sampling::parse(fields, limits.vocab, (dialect.top_logprobs)(fields)?)?;
    if let (Some(structured), false) = (&sampling.structured, forced.is_empty()) {
        return Err(invalid(
            structured.param.clone(),
            "secateur.forced_token_ids cannot be combined with a form of the answer",
        ));
    }
    let stream = stream(fields)?;
    if stream.is_some() && sampling.prompt_logprobs.is_some() {
        let message = "prompt_logprobs cannot be combined with stream; leave one of them out";
        return Err(unsupported("prompt_logprobs", message));
    }
    Ok(Generation {
        model: fields.text("model")?.map(str::to_owned),
        choices: choices(fields)?,
        sampling: SamplingChoice { forced, ..sampling },
        stop: stop::parse(fields, limits.vocab, &max_tokens)?,
        max_tokens,
        stream,
        visual,
        transfer,
        hides_reasoning: fields.flag("include_reasoning")?.is_some_and(|includes| !includes),
        tools: None,
        urgency: urgency::parse(fields)?,
    })
}

/// Reads `n`. Drawing more answers than are returned (`best_of`) is not supported.
fn choices(fields: &Fields) -> Result<u32, ServiceError> {
    let choices = fields.integer_from("n", 1)?.unwrap_or(1);
    if choices > CHOICES_MAX {
        return Err(fields.invalid("n", format!("must be at most {CHOICES_MAX}")));
    }
    match fields.integer("best_of")? {
        None => Ok(choices),
        Some(best_of) if best_of == i128::from(choices) || best_of == 1 => Ok(choices),
        Some(_) => Err(unsupported("best_of", "best_of other than n is not supported; leave it out")),
    }
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
