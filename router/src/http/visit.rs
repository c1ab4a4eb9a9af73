//! A request on its connection, as handlers see it.
//!
//! A visit lasts from the request's header until the last byte of its answer has been taken, and counts in three ways:
//! the connection serves its client while any of its visits is served; a connection without visits is quiet, and is
//! closed after a while; and over HTTP/2, where one connection carries many requests, the visits of a peer are bounded
//! as its connections are.

use std::{
    net::Ipv6Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::{Extensions, Version};
use tokio::time::{Instant, sleep_until};

use super::connections::Seat;
use crate::admission::{Peer, Permit, Permits};

/// All visits on one connection.
#[derive(Clone, Debug)]
pub struct Visits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seat: Seat,
    /// Permits for requests over HTTP/2, of all connections together.
    requests: Permits,
    quiet: Mutex<Quiet>,
}

/// The time without visits.
#[derive(Debug)]
struct Quiet {
    /// Number of visits.
    visits: usize,
    /// Time at which the last visit ended, or the connection began.
    since: Instant,
    /// Whether the connection speaks HTTP/1.1.
    is_http1: bool,
}

/// A request's reference to its visit; it is among the request's extensions. The visit ends with the last reference.
#[derive(Clone, Debug)]
pub struct Visit(Arc<Stay>);

#[derive(Debug)]
struct Stay {
    visits: Visits,
    is_multiplexed: bool,
    /// Whether the connection serves this request.
    is_served: AtomicBool,
    /// Permit for a request over HTTP/2; `None` for one that is refused.
    permit: Option<Permit>,
}

impl Visits {
    /// The visits on the connection with this seat, of which there are none yet.
    pub fn new(seat: Seat, requests: Permits) -> Self {
        let quiet = Quiet { visits: 0, since: Instant::now(), is_http1: false };
        Self(Arc::new(Shared { seat, requests, quiet: Mutex::new(quiet) }))
    }

    /// Begins the visit of a request that came with this version of HTTP.
    pub fn begin(&self, version: Version) -> Visit {
        let is_multiplexed = version >= Version::HTTP_2;
        let permit = if is_multiplexed { self.0.requests.take(self.0.seat.peer()) } else { None };
        let mut quiet = self.quiet();
        quiet.visits += 1;
        quiet.is_http1 |= !is_multiplexed;
        drop(quiet);
        Visit(Arc::new(Stay { visits: self.clone(), is_multiplexed, is_served: AtomicBool::new(false), permit }))
    }

    /// Resolves when there has been no visit for `limit`, counted from `from` at the earliest. Over HTTP/1.1 it never
    /// does: there the HTTP library bounds the time to the next request's header.
    pub async fn are_over(&self, from: Instant, limit: Duration) {
        loop {
            let now = Instant::now();
            let due = self.quiet().due(from, limit).unwrap_or(now + limit);
            if due <= now {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Locks the counts even if another holder panicked: each update leaves them right.
    fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.0.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quiet {
    /// Time at which the connection has been quiet for `limit`; `None` while it has visits or speaks HTTP/1.1.
    fn due(&self, from: Instant, limit: Duration) -> Option<Instant> {
        (self.visits == 0 && !self.is_http1).then(|| self.since.max(from) + limit)
    }
}

impl Visit {
    /// The peer that sent a request with these extensions. Requests without a connection count as one peer.
    pub fn peer(extensions: &Extensions) -> Peer {
        let unknown = Peer::V6(Ipv6Addr::UNSPECIFIED.to_bits() as u64);
        extensions.get::<Visit>().map_or(unknown, |visit| visit.0.visits.0.seat.peer())
    }

    /// Marks the request as being served: from now on the client waits for the router.
    pub fn serve(&self) {
        if !self.0.is_served.swap(true, Ordering::Relaxed) {
            self.0.visits.0.seat.serve();
        }
    }

    /// Whether the connection may carry other requests at the same time (HTTP/2).
    pub fn is_multiplexed(&self) -> bool {
        self.0.is_multiplexed
    }

    /// Whether the peer has all the requests over HTTP/2 that it may have.
    pub fn is_one_too_many(&self) -> bool {
        self.0.is_multiplexed && self.0.permit.is_none()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if *self.is_served.get_mut() {
            self.visits.0.seat.wait();
        }
        let mut quiet = self.visits.quiet();
        quiet.visits = quiet.visits.saturating_sub(1);
        quiet.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::{admission::Bounds, http::connections::Connections};

    const SECOND: Duration = Duration::from_secs(1);
    const ONE: Bounds = Bounds { total: 1, peer: 1 };

    fn visits(connections: &Connections, requests: &Permits) -> Option<Visits> {
        Some(Visits::new(connections.enter(IpAddr::from(Ipv4Addr::LOCALHOST).into())?, requests.clone()))
    }

    #[test]
    fn requests_over_http_2_are_bounded_and_those_of_http_1_are_not() {
        let requests = Permits::new(Bounds { total: 3, peer: 2 });
        let connections = Connections::new(Bounds { total: 2, peer: 2 });
        let (one, other) = (visits(&connections, &requests).unwrap(), visits(&connections, &requests).unwrap());
        let first = one.begin(Version::HTTP_2);
        let second = other.begin(Version::HTTP_2);
        assert!(!first.is_one_too_many() && !second.is_one_too_many());
        assert!(one.begin(Version::HTTP_2).is_one_too_many());
        assert!(!one.begin(Version::HTTP_11).is_one_too_many());
        let reference = second.clone();
        drop(second);
        assert!(one.begin(Version::HTTP_2).is_one_too_many(), "its bytes are still on their way");
        drop(reference);
        assert!(!one.begin(Version::HTTP_2).is_one_too_many());
    }

    #[test]
    fn a_connection_makes_room_only_when_no_visit_is_served() {
        let connections = Connections::new(ONE);
        let requests = Permits::new(Bounds { total: 9, peer: 9 });
        let visited = visits(&connections, &requests).unwrap();
        let (first, second) = (visited.begin(Version::HTTP_2), visited.begin(Version::HTTP_2));
        first.serve();
        first.serve();
        second.serve();
        assert!(visits(&connections, &requests).is_none());
        drop(first);
        assert!(visits(&connections, &requests).is_none(), "the second is still being served");
        drop(second);
        assert!(visits(&connections, &requests).is_some());
        assert!(visited.0.seat.end().is_cancelled());
    }

    #[test]
    fn quiet_begins_when_the_last_visit_ends() {
        let begun = Instant::now();
        let mut quiet = Quiet { visits: 1, since: begun, is_http1: false };
        assert_eq!(quiet.due(begun, SECOND), None);
        quiet.visits = 0;
        assert_eq!(quiet.due(begun, SECOND), Some(begun + SECOND));
        assert_eq!(quiet.due(begun + SECOND, SECOND), Some(begun + 2 * SECOND));
        quiet.is_http1 = true;
        assert_eq!(quiet.due(begun, SECOND), None);
    }
}
