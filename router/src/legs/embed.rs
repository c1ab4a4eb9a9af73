//! The one leg of a vector: a prefill node computes it, and another one where that node fails.

use std::time::Duration;

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{EmbedReply, EmbedRequest, Pooling, Role, prefill_client::PrefillClient},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    call::request,
    failure::timed_out,
    listen::hear,
    node_error,
    order::RequestIds,
    search::{Search, may_ask_again},
};
use crate::{
    cluster::{Cluster, Node, SingleWish},
    metrics::{AttemptOutcome, Metrics},
};

/// A request for the vector of one prompt.
#[derive(Clone, Debug)]
pub struct EmbedOrder {
    /// Ids for logs and traces.
    pub ids: RequestIds,
    /// Tokens of the prompt.
    pub tokens: Vec<u32>,
    /// How the states of its positions become one vector.
    pub pooling: Pooling,
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Id of the plan in force; empty if there is none.
    pub plan_id: String,
    /// Deadline of the request.
    pub deadline: Instant,
}

impl EmbedOrder {
    fn request(&self) -> EmbedRequest {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        EmbedRequest {
            request_id: self.ids.request_id.clone(),
            model_fingerprint: self.model_fingerprint.clone(),
            plan_id: self.plan_id.clone(),
            tokens: self.tokens.clone(),
            pooling: self.pooling.into(),
            deadline_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Computes a vector on the prefill node that has the least to do; tries others where it fails. Dropping the future
/// cancels the work.
pub async fn embed(cluster: &Cluster, metrics: &Metrics, order: &EmbedOrder) -> Result<EmbedReply, ServiceError> {
    let mut wish = SingleWish {
        model_fingerprint: order.model_fingerprint.clone(),
        plan_id: order.plan_id.clone(),
        positions: u32::try_from(order.tokens.len()).unwrap_or(u32::MAX),
        failed: Vec::new(),
    };
    let mut search = Search::new(false, Instant::now());
    let mut last: Option<ServiceError> = None;
    loop {
        let held = match cluster.single_by(&wish, search.until().min(order.deadline)).await {
            Ok(held) => held,
            // A failed attempt's own error says more than "no node is left".
            Err(none) => return Err(last.unwrap_or(none)),
        };
        if let Some(error) = last.take() {
            if held.is_avoided && !may_ask_again(&error) {
                return Err(error);
            }
            metrics.retried(error.code.as_str());
        }
        let error = match ask(&held.node, order).await {
            Ok(reply) => {
                metrics.attempt(AttemptOutcome::Ok);
                return Ok(reply);
            }
            Err(error) => error,
        };
        tracing::warn!(
            request_id = order.ids.request_id, code = error.code.as_str(), %error, prefill = %held.node.address,
            "a vector failed"
        );
        metrics.failed(&error);
        if error.is_retryable() {
            held.node.suspect();
        }
        wish.failed.push(held.node.address.to_string());
        drop(held);
        let Some(pause) = search.failed(&error, Instant::now()) else { return Err(error) };
        last = Some(error);
        sleep(pause).await;
    }
}

async fn ask(node: &Node, order: &EmbedOrder) -> Result<EmbedReply, ServiceError> {
    let mut client = PrefillClient::new(node.channel.clone());
    let call = hear(node, client.embed(request(order.request(), &order.ids)));
    let Ok(answered) = timeout_at(order.deadline, call).await else { return Err(timed_out()) };
    let reply = answered.map_err(|trouble| node_error::from_trouble(trouble, Role::Prefill))?.into_inner();
    if reply.values.is_empty() || !reply.values.iter().all(|value| value.is_finite()) {
        return Err(node_error::confused(Role::Prefill, "a vector is not of numbers"));
    }
    Ok(reply)
}

/// The error for a node whose vectors have another length than those before.
pub fn of_other_length() -> ServiceError {
    ServiceError::new(ErrorCode::Internal, "the prefill nodes made vectors of different lengths")
}
