//! Token counts of a request.

use serde::Serialize;

/// Token counts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// Tokens that the user sent: text tokens and all visual tokens, before pruning.
    pub prompt_tokens: u32,
    /// Generated tokens, without an end token.
    pub completion_tokens: u32,
    /// Sum of prompt and completion tokens.
    pub total_tokens: u32,
    /// Details of the prompt tokens: prefix cache hits.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Details of the prompt tokens, part of [`Usage`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PromptTokensDetails {
    /// Prompt tokens that prefill found in its prefix cache.
    pub cached_tokens: u32,
}

impl Usage {
    /// Usage of `prompt` and `completion` tokens, `cached` of the prompt's found in the prefix cache.
    pub fn new(prompt: u32, completion: u32, cached: u32) -> Self {
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt.saturating_add(completion),
            prompt_tokens_details: PromptTokensDetails { cached_tokens: cached.min(prompt) },
        }
    }

    /// The usage of a further answer to a prompt that has already been counted.
    pub fn without_prompt(self) -> Self {
        Self::new(0, self.completion_tokens, 0)
    }

    /// The sum of two usages.
    pub fn plus(self, other: Self) -> Self {
        let cached = |usage: Self| usage.prompt_tokens_details.cached_tokens;
        Self::new(
            self.prompt_tokens.saturating_add(other.prompt_tokens),
            self.completion_tokens.saturating_add(other.completion_tokens),
            cached(self).saturating_add(cached(other)),
        )
    }
}
