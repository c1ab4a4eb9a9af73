//! What all requests share: everything but the prompt.

use secateur_transfer::TransferPolicy;

use super::{
    max_tokens::MaxTokens, sampling::SamplingChoice, stop::StopConditions, urgency::Urgency, visual::VisualChoice,
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
    /// Whether the model's reasoning is left out of the answer.
    pub hides_reasoning: bool,
    /// How soon the answer is wanted.
    pub urgency: Urgency,
    /// Tools that the answer may call, or has to; `None` if there are none.
    pub tools: Option<ToolUse>,
}
