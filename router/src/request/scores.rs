//! How likely the model finds the tokens of a prompt.

use super::logprobs::ScoredToken;

/// The tokens of a prompt with their scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptScores {
    /// The tokens in order; a picture is one of them.
    pub tokens: Vec<PromptToken>,
    /// Characters of the prompt's text, where it is returned before the answer.
    pub characters: usize,
}

/// A token of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token's id.
    pub id: u32,
    /// The token as text.
    pub text: String,
    /// Start of the token's text in the prompt's, in characters.
    pub offset: usize,
    /// The token's score; `None` for the first token, which nothing stands before, and for a picture.
    pub score: Option<TokenScore>,
}

/// How likely a token is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScore {
    /// The token with its log probability.
    pub token: ScoredToken,
    /// Place of the token among all by likelihood, from 1.
    pub rank: u32,
    /// The most likely tokens by their ids, most likely first.
    pub top: Vec<(u32, ScoredToken)>,
}
