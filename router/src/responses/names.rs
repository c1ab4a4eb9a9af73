//! The client's own names for what an error about the translated request is about.

use secateur_proto::ServiceError;

use super::options::MAX_OUTPUT_TOKENS;
use crate::{
    openai::chat::REASONING_EFFORT,
    request::{ChatJob, Origins},
};

/// Names of fields that the messages of errors have elsewhere than at their beginning, with the client's names.
const INSIDE: [(&str, &str); 2] = [("; messages takes", "; input takes"), ("max_completion_tokens", MAX_OUTPUT_TOKENS)];

/// Turns errors about the translated request into errors about the client's.
#[derive(Clone, Debug, Default)]
pub struct Names(Origins);

impl Names {
    /// Names by where the translated fields came from.
    pub fn new(origins: Origins) -> Self {
        Self(origins)
    }

    /// Gives the client's names to the fields of the translated request, for the errors that are found later.
    pub fn rename(&mut self, chat: &mut ChatJob) {
        self.0.rename(chat);
        chat.generation.max_tokens.field = MAX_OUTPUT_TOKENS;
        self.0.record(REASONING_EFFORT, "reasoning.effort");
    }

    /// The error as one about the client's request.
    pub fn error(&self, error: ServiceError) -> ServiceError {
        let mut error = self.0.error(error);
        for (translated, original) in INSIDE {
            if error.message.contains(translated) {
                error.message = error.message.replace(translated, original);
            }
        }
        error
    }
}
