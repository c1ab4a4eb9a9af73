//! Tries pairs until one has brought the first token of its attempt.
//!
//! Until then the client has received nothing of this attempt, so retrying on another pair costs only time. How often
//! and for how long to retry is decided by `search`.

use secateur_proto::ServiceError;
use tokio::time::{Instant, sleep};

use super::{
    failure::LegFailure,
    open::open,
    order::Order,
    running::Legs,
    search::{Search, may_ask_again},
    so_far::SoFar,
};
use crate::cluster::{Cluster, Wish};

/// The outcome of trying pairs.
pub struct Tried {
    /// Legs that reached the first token, or the client's error.
    pub result: Result<Legs, ServiceError>,
    /// Failed attempts, in order.
    pub failed: Vec<LegFailure>,
}

/// Starts `order` where `so_far` ended, on the pair that suits `wish` best, and on other pairs if that one fails.
pub async fn start(cluster: &Cluster, order: &Order, so_far: &mut SoFar, wish: Wish) -> Tried {
    let mut failed = Vec::new();
    let result = try_pairs(cluster, order, so_far, wish, &mut failed).await;
    Tried { result, failed }
}

async fn try_pairs(
    cluster: &Cluster,
    order: &Order,
    so_far: &mut SoFar,
    mut wish: Wish,
    failed: &mut Vec<LegFailure>,
) -> Result<Legs, ServiceError> {
    let mut search = Search::new(!so_far.emitted.is_empty(), Instant::now());
    let mut last: Option<ServiceError> = None;
    loop {
        let placement = match cluster.place_by(&wish, search.until().min(order.deadline)).await {
            Ok(placement) => placement,
            // An attempt's own failure says more than "no pair is left".
            Err(none) => return Err(last.unwrap_or(none)),
        };
        if let Some(error) = last.filter(|error| placement.is_avoided && !may_ask_again(error)) {
            return Err(error);
        }
        let attempt = so_far.begin_attempt();
        let LegFailure { error, failure, spent } = match open(placement, order, so_far).await {
            Ok(legs) => return Ok(legs),
            Err(failure) => failure,
        };
        tracing::warn!(
            request_id = order.ids.request_id,
            attempt,
            code = error.code.as_str(),
            %error,
            prefill = failure.prefill,
            decode = failure.decode,
            blame = ?failure.blame,
            "attempt failed"
        );
        cluster.failed(&failure);
        wish.failures.push(failure.clone());
        failed.push(LegFailure { error: error.clone(), failure, spent });
        let Some(pause) = search.failed(&error, Instant::now()) else { return Err(error) };
        last = Some(error);
        sleep(pause).await;
    }
}
