//! The connection that a request came on, as handlers see it.

use std::{net::Ipv6Addr, sync::Arc};

use axum::http::Extensions;

use super::connections::Seat;
use crate::admission::Peer;

/// A request's reference to its connection; the accept loop puts it into each request.
#[derive(Clone, Debug)]
pub struct Visit {
    seat: Arc<Seat>,
}

/// Guard held while the answer to a request is made or written; when it is dropped the connection waits for its client
/// again.
#[derive(Debug)]
pub struct Service(Arc<Seat>);

impl Visit {
    /// A reference to the connection with this seat.
    pub fn new(seat: Arc<Seat>) -> Self {
        Self { seat }
    }

    /// The peer that sent a request with these extensions. Requests without a connection count as one peer.
    pub fn peer(extensions: &Extensions) -> Peer {
        extensions.get::<Visit>().map_or(Peer::V6(Ipv6Addr::UNSPECIFIED.to_bits() as u64), |visit| visit.seat.peer())
    }

    /// Marks the connection as serving: from now on the client waits for the router.
    pub fn serve(&self) -> Service {
        self.seat.serve();
        Service(self.seat.clone())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.wait();
    }
}
