//! Tries pairs until one has brought the first token.
//!
//! Until then nothing has reached the client, so a failure that another pair may not have costs only time. How often and
//! for how long is bounded: the client hears of a dead cluster within two seconds.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{Instant, sleep};

use super::{
    open::{LegFailure, open},
    order::Order,
    running::Legs,
};
use crate::cluster::Cluster;

const ATTEMPTS_MAX: u32 = 3;
/// After the first failure, attempts begin only within this time.
const RETRY_WINDOW: Duration = Duration::from_millis(900);
/// The same nodes are asked again only if they failed fast: a node that restarted refuses one call and takes the next.
const FAST: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(50);

/// Legs that reached the first token, and the attempts that took.
pub struct Started {
    /// In flight.
    pub legs: Legs,
    /// The successful one included.
    pub attempts: u32,
}

/// A request that no pair would take.
#[derive(Debug)]
pub struct NotStarted {
    /// For the client.
    pub error: ServiceError,
    /// Attempts made.
    pub attempts: u32,
}

/// Starts `order` on the best pair, and on others if that fails.
pub async fn start(cluster: &Cluster, order: &Order) -> Result<Started, NotStarted> {
    let mut avoid: Vec<String> = Vec::new();
    let mut last: Option<Failed> = None;
    for attempt in 1..=ATTEMPTS_MAX {
        let made = attempt - 1;
        let placement = match cluster.place(&avoid) {
            Ok(placement) => placement,
            // The first failure says more than "nothing is left".
            Err(none) => return Err(NotStarted { error: last.map_or(none, |last| last.error), attempts: made }),
        };
        if let Some(last) = &last
            && placement.is_avoided
            && !last.may_ask_again()
        {
            return Err(NotStarted { error: last.error.clone(), attempts: made });
        }
        let nodes = [placement.prefill.clone(), placement.decode.clone()];
        let began = Instant::now();
        let failure = match open(placement, order, attempt).await {
            Ok(legs) => return Ok(Started { legs, attempts: attempt }),
            Err(failure) => failure,
        };
        for node in nodes.iter().filter(|node| failure.nodes.contains(&node.address)) {
            node.suspect();
        }
        let LegFailure { error, nodes } = failure;
        tracing::warn!(request_id = order.ids.request_id, attempt, code = error.code.as_str(), %error, ?nodes, "attempt failed");
        let first_at = last.as_ref().map_or_else(Instant::now, |last| last.first_at);
        if !error.is_retryable() || first_at.elapsed() > RETRY_WINDOW {
            return Err(NotStarted { error, attempts: attempt });
        }
        avoid.extend(nodes);
        last = Some(Failed { error, first_at, took: began.elapsed() });
        sleep(PAUSE).await;
    }
    let error = last.map_or_else(|| ServiceError::new(ErrorCode::Internal, "no attempt was made"), |last| last.error);
    Err(NotStarted { error, attempts: ATTEMPTS_MAX })
}

struct Failed {
    error: ServiceError,
    first_at: Instant,
    took: Duration,
}

impl Failed {
    /// A full queue stays full for a while; a slow failure would be slow again.
    fn may_ask_again(&self) -> bool {
        self.error.code != ErrorCode::Overloaded && self.took < FAST
    }
}
