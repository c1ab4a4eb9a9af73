//! What chat and text requests share: everything but the prompt.

use secateur_proto::ServiceError;
use secateur_transfer::TransferPolicy;

pub use super::max_tokens::MaxTokens;
use super::{
    extension::{self, Extension, VisualChoice},
    fields::{Fields, invalid, unsupported},
    max_tokens,
    sampling::{self, SamplingChoice},
    stop::{self, StopConditions},
    urgency::{self, Urgency},
};
use crate::tools::ToolUse;

/// Most answers to one request: prompts times `n`.
pub const CHOICES_MAX: u32 = 128;

/// Bounds on one request that do not depend on the nodes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most pictures in one request.
    pub images_max: usize,
    /// Most bytes of one encoded picture.
    pub image_bytes_max: usize,
    /// Size of the vocabulary; token ids that a client names must be below it.
    pub vocab: u32,
}

/// Options of a streamed answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Whether a last chunk carries usage and receipt.
    pub include_usage: bool,
    /// Whether every chunk carries the usage so far.
    pub continuous_usage: bool,
}

/// How answers are generated and returned.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Model that the client named; `None` means any.
    pub model: Option<String>,
    /// Number of answers to each prompt, at least 1.
    pub choices: u32,
    /// How long an answer may be.
    pub max_tokens: MaxTokens,
    /// How tokens are drawn.
    pub sampling: SamplingChoice,
    /// Stop conditions besides the model's own end tokens.
    pub stop: StopConditions,
    /// Stream options, present if the answer is streamed.
    pub stream: Option<StreamOptions>,
    /// Visual pruning that the client asks for.
    pub visual: VisualChoice,
    /// Transfer policy; `None` means `auto`.
    pub transfer: Option<TransferPolicy>,
    /// Tools that the answer may call, or has to; `None` if there are none.
    pub tools: Option<ToolUse>,
    /// How soon the answer is wanted.
    pub urgency: Urgency,
}

/// Differences between chat and text requests in the parts that they share.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Limit of the answer if the request gives none; `None` means the rest of the context.
    pub max_tokens_default: Option<u32>,
    /// Reads whether log probabilities are requested, and for how many alternatives to each drawn token.
    pub top_logprobs: fn(&Fields) -> Result<Option<u32>, ServiceError>,
}

/// Reads everything but the prompt.
pub fn parse(fields: &Fields, limits: &Limits, dialect: Dialect) -> Result<Generation, ServiceError> {
    let max_tokens = max_tokens::parse(fields, dialect.max_tokens_default)?;
    let Extension { visual, transfer, forced } = extension::parse(fields, limits.vocab)?;
    let sampling = sampling::parse(fields, limits.vocab, (dialect.top_logprobs)(fields)?)?;
    if let (Some(structured), false) = (&sampling.structured, forced.is_empty()) {
        return Err(invalid(
            structured.param.clone(),
            "secateur.forced_token_ids cannot be combined with a form of the answer",
        ));
    }
    Ok(Generation {
        model: fields.text("model")?.map(str::to_owned),
        choices: choices(fields)?,
        sampling: SamplingChoice { forced, ..sampling },
        stop: stop::parse(fields, limits.vocab, &max_tokens)?,
        max_tokens,
        stream: stream(fields)?,
        visual,
        transfer,
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
