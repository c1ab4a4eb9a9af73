//! A piece of an answer, as it goes to the client.

use crate::{
    openai::{logprobs::TokenEntry, response::FinishReason},
    tools::CallPart,
};

/// A piece of the answer.
#[derive(Debug, Default)]
pub struct Piece {
    /// New text, perhaps empty.
    pub text: String,
    /// New parts of calls.
    pub calls: Vec<CallPart>,
    /// Log probabilities of the tokens whose text is now shown in full; `None` if they were not requested.
    pub logprobs: Option<Vec<TokenEntry>>,
    /// Why the answer ended; set on the last piece only.
    pub finish: Option<FinishReason>,
}
