//! Bounds the client connections.
//!
//! A connection either waits for its client (for a TLS handshake, a request, the rest of a header, the rest of a body) or
//! serves it; one that has several requests at once waits only if each of them does. At the bound, a new connection takes the place of the one that has waited longest, of the peer with the most
//! connections. So a client that sends its request is served, however many others stay silent.

mod crowd;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use secateur_common::shutdown::CancellationToken;

use self::crowd::{Crowd, Entry};
use crate::admission::{Bounds, Peer};

/// All connections.
#[derive(Clone, Debug)]
pub struct Connections(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    crowd: Crowd,
    next_id: u64,
    /// Tokens that end connections, by connection id.
    ends: HashMap<u64, CancellationToken>,
}

/// One connection's permit, released on drop.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    peer: Peer,
    end: CancellationToken,
    connections: Connections,
}

impl Connections {
    /// A set of connections within `bounds`, with none open.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(Inner { crowd: Crowd::new(bounds), next_id: 0, ends: HashMap::new() })))
    }

    /// Takes a seat for a connection of `peer`, possibly by ending another connection; `None` if all connections that
    /// could be ended are being served.
    pub fn enter(&self, peer: Peer) -> Option<Seat> {
        let mut inner = self.lock();
        let id = inner.next_id;
        match inner.crowd.enter(id, peer) {
            Entry::Room => {}
            Entry::Instead(of) => inner.end(of),
            Entry::Full => return None,
        }
        inner.next_id += 1;
        let end = CancellationToken::new();
        inner.ends.insert(id, end.clone());
        drop(inner);
        Some(Seat { id, peer, end, connections: self.clone() })
    }

    /// Ends the connection that has waited longest, if any does.
    pub fn make_room(&self) {
        let mut inner = self.lock();
        if let Some(id) = inner.crowd.longest_waiting() {
            inner.crowd.leave(id);
            inner.end(id);
        }
    }

    /// Locks the connections even if another holder panicked: every change is a single call into the crowd.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, id: u64) {
        if let Some(end) = self.ends.remove(&id) {
            end.cancel();
        }
    }
}

impl Seat {
    /// The peer of the connection.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Counts one more request that is being served.
    pub fn serve(&self) {
        self.connections.lock().crowd.serve(self.id);
    }

    /// Counts one request less; after the last one, the connection waits for its client.
    pub fn wait(&self) {
        self.connections.lock().crowd.wait(self.id);
    }

    /// Token that is cancelled when the connection must make room for another.
    pub fn end(&self) -> &CancellationToken {
        &self.end
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.connections.lock();
        inner.crowd.leave(self.id);
        inner.ends.remove(&self.id);
    }
}
