//! A piece of an answer, as it goes to the client.

use crate::{
    request::{FinishReason, TokenEntry},
    tools::CallPart,
};

/// A piece of the answer.
#[derive(Debug, Default)]
pub struct Piece {
    /// New text, perhaps empty.
    pub text: String,
    /// New text of what the model thinks before it answers, perhaps empty.
    pub reasoning: String,
    /// New parts of calls.
    pub calls: Vec<CallPart>,
    /// Log probabilities of the tokens whose text is now shown in full; `None` if they were not requested.
    pub logprobs: Option<Vec<TokenEntry>>,
    /// Why the answer ended; set on the last piece only.
    pub finish: Option<FinishReason>,
    /// The stop text that ended the answer, on the last piece, if one did.
    pub stop_text: Option<String>,
}
