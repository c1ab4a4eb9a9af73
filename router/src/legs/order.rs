//! What both nodes are asked to do, the same in every attempt.

use std::time::Duration;

use bytes::Bytes;
use secateur_proto::v1::{Epoch, GenerateRequest, PrefillRequest, Sampling, Span};
use secateur_transfer::{policy::TransferPolicy, visual::policy_to_proto};
use tokio::time::Instant;

use super::so_far::SoFar;
use crate::{
    cluster::{Bulk, Facts, Prefix},
    request::VisualChoice,
};

/// Names under which a request can be followed through the cluster.
#[derive(Clone, Debug, Default)]
pub struct RequestIds {
    /// The client's `x-request-id`, or a generated one.
    pub request_id: String,
    /// The client's W3C trace context, passed on unchanged.
    pub traceparent: Option<String>,
}

/// A request in the form that the nodes take.
#[derive(Clone, Debug)]
pub struct Order {
    /// Id that ties the two legs together; it stays the same in retries.
    pub epoch: String,
    /// Ids for logs and traces.
    pub ids: RequestIds,
    /// Tokens of the prompt.
    pub tokens: Vec<u32>,
    /// Text tokens of the prompt for decode's repetition penalty; empty if the penalty is off.
    pub penalized_tokens: Vec<u32>,
    /// Digests of the prompt's prefixes, shortest first: a node that served one may hold its KV.
    pub prefixes: Vec<Prefix>,
    /// Token spans of the users' own words in the prompt.
    pub user_spans: Vec<Span>,
    /// Encoded pictures.
    pub images: Vec<Bytes>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Number of most likely tokens to report with each token of the prompt; `None` if the prompt is not scored.
    pub score_top: Option<u32>,
    /// Most tokens of the answer, including the first one.
    pub max_new_tokens: u32,
    /// Text and visual tokens of the prompt before pruning, at most.
    pub prompt_positions_max: u32,
    /// Positions that a pair must have room for.
    pub positions_needed: u32,
    /// Tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Visual pruning that the client asked for.
    pub visual: VisualChoice,
    /// Transfer policy that the client asked for; `None` if each attempt's pair decides.
    pub transfer: Option<TransferPolicy>,
    /// Deadline of the request.
    pub deadline: Instant,
}

impl Order {
    /// Positions that the pair of the next attempt must have room for; an answer without a limit may have outgrown the
    /// first figure.
    pub fn positions_needed(&self, so_far: &SoFar) -> u32 {
        let next = self.prompt_positions_max.saturating_add(so_far.next_index()).saturating_add(1);
        self.positions_needed.max(next)
    }

    /// Scores that the next attempt brings: one for each token of the prompt if it is to be scored. A replay's client has
    /// them already.
    pub fn scores(&self, so_far: &SoFar) -> usize {
        match self.score_top {
            Some(_) if so_far.emitted.is_empty() => self.tokens.len(),
            _ => 0,
        }
    }

    /// Bytes of all pictures.
    pub fn picture_bytes(&self) -> usize {
        self.images.iter().map(Bytes::len).sum()
    }

    /// The properties of the next attempt that decide how much it ships.
    pub fn bulk(&self, so_far: &SoFar) -> Bulk {
        let text = self.tokens.len().saturating_sub(self.images.len());
        Bulk {
            text_tokens: u32::try_from(text).unwrap_or(u32::MAX).saturating_add(so_far.next_index()),
            pictures: self.images.len(),
            visual: self.visual,
            policy: self.transfer,
            ships: so_far.needs_decode(self.max_new_tokens),
        }
    }

    /// The decode node's request for the attempt that `so_far` has begun.
    pub fn generate_request(&self, facts: &Facts, transfer: TransferPolicy, so_far: &SoFar) -> GenerateRequest {
        let positions = self.prompt_positions_max.saturating_add(so_far.next_index());
        GenerateRequest {
            epoch: Some(self.epoch(so_far)),
            request_id: self.ids.request_id.clone(),
            model_fingerprint: facts.model_fingerprint.clone(),
            plan_id: facts.plan_id.clone(),
            prompt_positions_max: positions.min(facts.max_positions),
            max_new_tokens: self.max_new_tokens,
            sampling: Some(self.sampling.clone()),
            stop_token_ids: self.stop_token_ids.clone(),
            deadline_ms: self.remaining_ms(),
            emitted: so_far.emitted.clone(),
            prompt_tokens: self.penalized_tokens.clone(),
            transfer: transfer.to_proto(),
        }
    }

    /// The prefill node's request for the attempt that `so_far` has begun.
    pub fn prefill_request(
        &self,
        facts: &Facts,
        transfer: TransferPolicy,
        decode_address: &str,
        so_far: &SoFar,
    ) -> PrefillRequest {
        let needs_decode = so_far.needs_decode(self.max_new_tokens);
        let visual = self.visual.resolve(facts.recommended(), self.images.len());
        PrefillRequest {
            epoch: Some(self.epoch(so_far)),
            request_id: self.ids.request_id.clone(),
            model_fingerprint: facts.model_fingerprint.clone(),
            plan_id: facts.plan_id.clone(),
            tokens: self.tokens.clone(),
            user_spans: self.user_spans.clone(),
            images: self.images.clone(),
            visual: Some(policy_to_proto(visual)),
            transfer: transfer.to_proto(),
            sampling: Some(self.sampling.clone()),
            decode_address: if needs_decode { decode_address.to_owned() } else { String::new() },
            deadline_ms: self.remaining_ms(),
            stop_token_ids: self.stop_token_ids.clone(),
            emitted: so_far.emitted.clone(),
            decode_dtype: if needs_decode { facts.decode_dtype } else { 0 },
            // Set by `open`, which has the placement.
            decode_name: String::new(),
            score_top: self.score_top.filter(|_| so_far.emitted.is_empty()),
        }
    }

    fn epoch(&self, so_far: &SoFar) -> Epoch {
        Epoch { id: self.epoch.clone(), attempt: so_far.attempts }
    }

    fn remaining_ms(&self) -> u64 {
        let remaining = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::v1;

    fn order() -> Order {
        Order {
            epoch: "e".into(),
            ids: RequestIds::default(),
            tokens: vec![5, 3, 6],
            prefixes: Vec::new(),
            penalized_tokens: vec![5, 6],
            user_spans: Vec::new(),
            images: vec![Bytes::from_static(b"png")],
            sampling: Sampling { seed: 7, min_tokens: 2, ..Default::default() },
            score_top: Some(3),
            max_new_tokens: 4,
            prompt_positions_max: 18,
            positions_needed: 20,
            stop_token_ids: vec![1],
            visual: VisualChoice::default(),
            transfer: None,
            deadline: Instant::now() + Duration::from_secs(9),
        }
    }

    #[tokio::test]
    async fn a_replay_is_the_same_request_with_the_tokens_so_far() {
        let (order, facts) = (order(), Facts { max_positions: 100, decode_dtype: 2, ..Default::default() });
        let first = SoFar { emitted: Vec::new(), attempts: 1 };
        assert_eq!(order.positions_needed(&first), 20);
        assert_eq!(order.positions_needed(&SoFar { emitted: vec![8, 9, 8], attempts: 2 }), 22);
        let replay = SoFar { emitted: vec![8, 9], attempts: 2 };
        let (before, after) = (
            order.generate_request(&facts, TransferPolicy::Dense, &first),
            order.generate_request(&facts, TransferPolicy::Tiered, &replay),
        );
        assert_eq!((before.transfer(), after.transfer()), (v1::TransferPolicy::Dense, v1::TransferPolicy::Tiered));
        assert_eq!((before.prompt_positions_max, after.prompt_positions_max), (18, 20));
        assert_eq!((before.max_new_tokens, after.max_new_tokens), (4, 4), "of the whole answer");
        assert_eq!(after.epoch, Some(Epoch { id: "e".into(), attempt: 2 }));
        assert_eq!((after.emitted, after.prompt_tokens), (vec![8, 9], vec![5, 6]));
        assert_eq!((before.sampling, before.stop_token_ids), (after.sampling, after.stop_token_ids));
        let begun = order.prefill_request(&facts, TransferPolicy::Tiered, "d:1", &first);
        assert_eq!((begun.score_top, order.scores(&first), order.scores(&replay)), (Some(3), 3, 0));
        let prefill = order.prefill_request(&facts, TransferPolicy::Tiered, "d:1", &replay);
        assert_eq!(prefill.score_top, None, "its client has the scores");
        assert_eq!((prefill.transfer(), prefill.decode_dtype), (v1::TransferPolicy::Tiered, 2));
        assert_eq!((prefill.tokens, prefill.emitted), (vec![5, 3, 6], vec![8, 9]));
        assert_eq!((prefill.decode_address.as_str(), prefill.stop_token_ids), ("d:1", vec![1]));
        assert_eq!(prefill.images, order.images);
        let bulk = order.bulk(&replay);
        assert_eq!((bulk.text_tokens, bulk.pictures, bulk.ships), (4, 1, true));
        assert_eq!(prefill.sampling.unwrap().min_tokens, 2);
    }

    #[tokio::test]
    async fn the_last_token_of_a_replay_needs_no_decode_node_and_positions_end_at_the_models() {
        let facts = Facts { max_positions: 20, ..Default::default() };
        let replay = SoFar { emitted: vec![8, 9, 10], attempts: 2 };
        assert_eq!(order().prefill_request(&facts, TransferPolicy::Dense, "d:1", &replay).decode_address, "");
        assert!(!order().bulk(&replay).ships);
        assert_eq!(order().generate_request(&facts, TransferPolicy::Dense, &replay).prompt_positions_max, 20);
    }
}
