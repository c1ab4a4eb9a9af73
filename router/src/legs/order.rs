//! What both nodes are asked to do, the same in every attempt.

use std::time::Duration;

use bytes::Bytes;
use secateur_proto::v1::{Epoch, GenerateRequest, PrefillRequest, Sampling, Span, TransferPolicy};
use tokio::time::Instant;

use crate::{cluster::Facts, openai::VisualChoice};

/// Names under which a request can be followed through the cluster.
#[derive(Clone, Debug, Default)]
pub struct RequestIds {
    /// Taken from the client or made.
    pub request_id: String,
    /// The client's W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

/// A request, ready for nodes.
#[derive(Clone, Debug)]
pub struct Order {
    /// Binds the legs; stays the same in retries.
    pub epoch: String,
    /// For logs and traces.
    pub ids: RequestIds,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// The users' words in it.
    pub user_spans: Vec<Span>,
    /// Encoded pictures.
    pub images: Vec<Bytes>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The first one included.
    pub max_new_tokens: u32,
    /// Before pruning.
    pub prompt_positions_max: u32,
    /// What ends the answer.
    pub stop_token_ids: Vec<u32>,
    /// Visual pruning.
    pub visual: VisualChoice,
    /// What is shipped.
    pub transfer: TransferPolicy,
    /// When the work is given up.
    pub deadline: Instant,
}

impl Order {
    /// The first token comes from prefill: a longer answer needs a decode node.
    pub fn needs_decode(&self) -> bool {
        self.max_new_tokens > 1
    }

    /// The decode node's share.
    pub fn generate_request(&self, facts: &Facts, attempt: u32) -> GenerateRequest {
        GenerateRequest {
            epoch: Some(self.epoch(attempt)),
            request_id: self.ids.request_id.clone(),
            model_fingerprint: facts.model_fingerprint.clone(),
            plan_id: facts.plan_id.clone(),
            prompt_positions_max: self.prompt_positions_max,
            max_new_tokens: self.max_new_tokens,
            sampling: Some(self.sampling),
            stop_token_ids: self.stop_token_ids.clone(),
            deadline_ms: self.remaining_ms(),
        }
    }

    /// The prefill node's share.
    pub fn prefill_request(&self, facts: &Facts, decode_address: &str, attempt: u32) -> PrefillRequest {
        PrefillRequest {
            epoch: Some(self.epoch(attempt)),
            request_id: self.ids.request_id.clone(),
            model_fingerprint: facts.model_fingerprint.clone(),
            plan_id: facts.plan_id.clone(),
            tokens: self.tokens.clone(),
            user_spans: self.user_spans.clone(),
            images: self.images.clone(),
            visual: Some(self.visual.resolve(facts.recommended_visual.as_ref(), self.images.len())),
            transfer: self.transfer as i32,
            sampling: Some(self.sampling),
            decode_address: if self.needs_decode() { decode_address.to_owned() } else { String::new() },
            deadline_ms: self.remaining_ms(),
        }
    }

    fn epoch(&self, attempt: u32) -> Epoch {
        Epoch { id: self.epoch.clone(), attempt }
    }

    fn remaining_ms(&self) -> u64 {
        let remaining = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX)
    }
}
