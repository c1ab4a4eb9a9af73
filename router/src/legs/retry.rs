//! Tries pairs until one has brought the first token.
//!
//! Until then nothing of this attempt has reached the client, so a failure that another pair may not have costs only
//! time. How often and for how long is bounded: the client hears of a dead cluster within two seconds.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{Instant, sleep};

use super::{
    open::{LegFailure, open},
    order::Order,
    running::Legs,
    so_far::SoFar,
};
use crate::cluster::{Cluster, Wish};

const ATTEMPTS_MAX: u32 = 3;
/// After the first failure, attempts begin only within this time.
const RETRY_WINDOW: Duration = Duration::from_millis(900);
/// The same nodes are asked again only if they failed fast, or refused a shipment: a node that restarted refuses one call and takes the next.
const FAST: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(50);

/// What came of it.
pub struct Tried {
    /// Legs that reached the first token, or what the client is told.
    pub result: Result<Legs, ServiceError>,
    /// Attempts that failed, in order.
    pub failed: Vec<LegFailure>,
}

/// Starts `order` where `so_far` ended, on the pair that suits `wish` best, and on others if that fails.
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
    let mut last: Option<Failed> = None;
    for _ in 0..ATTEMPTS_MAX {
        let placement = match cluster.place(&wish) {
            Ok(placement) => placement,
            // The first failure says more than "nothing is left".
            Err(none) => return Err(last.map_or(none, |last| last.error)),
        };
        if let Some(last) = &last
            && placement.is_avoided
            && !last.may_ask_again()
        {
            return Err(last.error.clone());
        }
        let began = Instant::now();
        let attempt = so_far.begin_attempt();
        let failure = match open(placement, order, so_far).await {
            Ok(legs) => return Ok(legs),
            Err(failure) => failure,
        };
        let (error, nodes) = (failure.error.clone(), failure.nodes.clone());
        failed.push(failure);
        tracing::warn!(request_id = order.ids.request_id, attempt, code = error.code.as_str(), %error, ?nodes, "attempt failed");
        let first_at = last.as_ref().map_or_else(Instant::now, |last| last.first_at);
        if !error.is_retryable() || first_at.elapsed() > RETRY_WINDOW {
            return Err(error);
        }
        wish.avoid.extend(nodes);
        last = Some(Failed { error, first_at, took: began.elapsed() });
        sleep(PAUSE).await;
    }
    let none = || ServiceError::new(ErrorCode::Internal, "no attempt was made");
    Err(last.map_or_else(none, |last| last.error))
}

struct Failed {
    error: ServiceError,
    first_at: Instant,
    took: Duration,
}

impl Failed {
    /// A full queue stays full for a while; a slow failure would be slow again. A refused shipment says nothing against
    /// the nodes, however long it took: it is computed and shipped again.
    fn may_ask_again(&self) -> bool {
        match self.error.code {
            ErrorCode::KvRefused => true,
            ErrorCode::Overloaded => false,
            _ => self.took < FAST,
        }
    }
}
