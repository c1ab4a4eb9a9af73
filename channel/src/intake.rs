//! Limits on what callers may have in flight before a node has accepted any of it: connections, calls, unread bytes,
//! and the size and time of each call's first message.
//!
//! ```text
//! connection ── Seat ──▶ HTTP/2 (streams, windows) ──▶ first_message.rs ──▶ the service
//!                 └── its share of the node's budget for first messages ──┘
//! ```
//!
//! HTTP/2's windows bound unread bytes. The bytes of an incomplete message that a service has read leave the windows
//! and lie in a decoder, so they are bounded here: a large first message waits, unread, until there is room for all of
//! it, and its rest has to arrive at a minimum rate. After a service has accepted a call's first message, the service
//! itself bounds the call.

mod first_message;
mod give_back;
mod pace;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use first_message::FirstMessage;

/// Intake limits of one node.
#[derive(Clone, Copy, Debug)]
pub struct Intake {
    /// Most open connections.
    pub connections: usize,
    /// Most concurrent calls per connection; a client delays further ones.
    pub streams: u32,
    /// Most unread bytes of one call.
    pub stream_window: u32,
    /// Most unread bytes of one connection.
    pub connection_window: u32,
    /// Size in bytes up to which a first message needs no room.
    pub free: usize,
    /// Most bytes of larger first messages that one connection may have in flight.
    pub connection_bytes: usize,
    /// Most bytes of larger first messages that all connections together may have in flight.
    pub node_bytes: usize,
    /// How long a small first message may take. On a slow link it queues behind megabytes of other messages.
    pub first_message_max: Duration,
    /// How long a larger first message may wait for room.
    pub room_max: Duration,
}

/// A node's limits, and the permits that are left of them. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limits: Intake,
    seats: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Permit for one connection, with the connection's share of the bytes; released on drop.
#[derive(Debug)]
pub struct Seat {
    share: Arc<Semaphore>,
    _seat: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        give_back::soon();
    }
}

/// The connection that a call arrived on.
#[derive(Clone, Debug)]
pub struct Caller {
    address: Option<SocketAddr>,
    share: Option<Arc<Semaphore>>,
}

/// Permit for the bytes of a first message, of the connection's share and of the node's budget.
#[derive(Debug)]
struct Permit {
    _of_connection: Option<OwnedSemaphorePermit>,
    _of_node: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(limits: Intake) -> Self {
        let [seats, bytes] = [limits.connections, limits.node_bytes]
            .map(|count| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))));
        Self { limits, seats, bytes }
    }

    /// Takes a seat for one more connection; `None` if all are taken.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let seat = self.seats.clone().try_acquire_owned().ok()?;
        Some(Seat { share: Arc::new(Semaphore::new(self.limits.connection_bytes)), _seat: seat })
    }

    /// Reserves room for a first message of `bytes` bytes, waiting until other messages release theirs. Each budget is
    /// taken at once for the whole message, the connection's before the node's, so that messages cannot wait for each
    /// other in a cycle. A message that is larger than a budget takes all of it.
    async fn reserve(self, caller: Caller, bytes: usize) -> Option<Permit> {
        let (of_connection, of_node) = self.parts(bytes);
        let share = match caller.share {
            Some(share) => Some(share.acquire_many_owned(of_connection).await.ok()?),
            None => None,
        };
        Some(Permit { _of_connection: share, _of_node: self.bytes.acquire_many_owned(of_node).await.ok()? })
    }

    /// Reserves room without waiting; `None` if there is not enough.
    fn try_reserve(&self, caller: &Caller, bytes: usize) -> Option<Permit> {
        let (of_connection, of_node) = self.parts(bytes);
        let share = match &caller.share {
            Some(share) => Some(share.clone().try_acquire_many_owned(of_connection).ok()?),
            None => None,
        };
        Some(Permit { _of_connection: share, _of_node: self.bytes.clone().try_acquire_many_owned(of_node).ok()? })
    }

    fn parts(&self, bytes: usize) -> (u32, u32) {
        let part = |most: usize| u32::try_from(bytes.min(most)).unwrap_or(u32::MAX);
        (part(self.limits.connection_bytes), part(self.limits.node_bytes))
    }
}

impl Caller {
    pub(crate) fn new(address: Option<SocketAddr>, seat: Option<&Seat>) -> Self {
        Self { address, share: seat.map(|seat| seat.share.clone()) }
    }

    /// Address of the other end of the connection.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const LIMITS: Intake = Intake {
        connections: 2,
        streams: 100,
        stream_window: 1_000,
        connection_window: 10_000,
        free: 10,
        connection_bytes: 300,
        node_bytes: 500,
        first_message_max: Duration::from_millis(300),
        room_max: Duration::from_millis(600),
    };

    #[test]
    fn seats_are_counted_and_come_back() {
        let room = Budget::new(LIMITS);
        let (first, _second) = (room.seat().unwrap(), room.seat().unwrap());
        assert!(room.seat().is_none());
        drop(first);
        assert!(room.seat().is_some());
    }

    #[tokio::test]
    async fn a_connection_has_its_share_and_all_together_their_limit() {
        let room = Budget::new(LIMITS);
        let seats = [room.seat().unwrap(), room.seat().unwrap()];
        let [one, other] = [0, 1].map(|at: usize| Caller::new(None, Some(&seats[at])));
        let all = room.try_reserve(&one, 10_000).expect("one that is larger than all there is takes all");
        assert!(room.try_reserve(&one, 1).is_none() && room.try_reserve(&other, 1).is_none());
        drop(all);
        let held = room.try_reserve(&one, 300).unwrap();
        assert!(room.try_reserve(&one, 1).is_none(), "its share is taken");
        let more = room.try_reserve(&other, 200).unwrap();
        assert!(room.try_reserve(&other, 1).is_none(), "the node's budget is taken");
        let waits = tokio::spawn(room.clone().reserve(other, 100));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop((held, more));
        assert!(waits.await.unwrap().is_some());
    }
}
