//! What a handler knows of the connection that a request came on.

use std::{net::Ipv6Addr, sync::Arc};

use axum::http::Extensions;

use super::connections::Seat;
use crate::admission::Peer;

/// Put into each request by the accept loop.
#[derive(Clone, Debug)]
pub struct Visit {
    seat: Arc<Seat>,
}

/// The answer to a request is being made or written; the connection waits for its client again when this is dropped.
#[derive(Debug)]
pub struct Service(Arc<Seat>);

impl Visit {
    /// A visit to the connection with this seat.
    pub fn new(seat: Arc<Seat>) -> Self {
        Self { seat }
    }

    /// Who sent a request with these extensions. Where nobody is named, all are one.
    pub fn peer(extensions: &Extensions) -> Peer {
        extensions.get::<Visit>().map_or(Peer::V6(Ipv6Addr::UNSPECIFIED.to_bits() as u64), |visit| visit.seat.peer())
    }

    /// From now on the client waits, and not the router.
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
