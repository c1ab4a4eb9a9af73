//! A validated request of Anthropic's API.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::translate::{CONTINUES, Translated, translate};
use crate::{
    openai::{
        chat::{self, REASONING_EFFORT},
        fields::invalid,
    },
    request::{ChatJob, Limits, Origins},
};

/// A validated request.
#[derive(Debug)]
pub struct MessagesJob {
    /// What it asks, in the names of the client's own fields.
    pub chat: ChatJob,
    /// Names of the tools whose input is streamed while it is written.
    pub eager: Vec<String>,
    /// The client's names for what has no name of its own in `chat`.
    pub later: Origins,
}

impl MessagesJob {
    /// Reads and validates a body of `/v1/messages`.
    pub fn parse(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        let job = Self::counted(body, limits)?;
        match job.chat.generation.max_tokens.tokens {
            Some(_) => Ok(job),
            None => Err(invalid("max_tokens", "max_tokens is required")),
        }
    }

    /// Reads and validates a body whose tokens are to be counted; it says nothing about the answer's length.
    pub fn counted(body: &Value, limits: &Limits) -> Result<Self, ServiceError> {
        let Translated { body, origins, eager } = translate(body)?;
        let mut chat = chat::parse(&body, limits).map_err(|error| origins.error(error))?;
        origins.rename(&mut chat);
        let mut later = Origins::default();
        later.record(CONTINUES, origins.path(CONTINUES));
        later.record(REASONING_EFFORT, "output_config.effort");
        Ok(Self { chat, eager, later })
    }
}
