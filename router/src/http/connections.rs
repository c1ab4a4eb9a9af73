//! Who may be connected.
//!
//! A connection either waits for its client (for a request, the rest of a header, the rest of a body) or serves it. Where
//! there are too many, the one that has waited longest makes room, of the peer that has the most: a client that sends what it
//! has to say is served, however many others say nothing.

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
    /// Ends a connection.
    ends: HashMap<u64, CancellationToken>,
}

/// One connection; it leaves on drop.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    peer: Peer,
    end: CancellationToken,
    connections: Connections,
}

impl Connections {
    /// At most so many.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(Inner { crowd: Crowd::new(bounds), next_id: 0, ends: HashMap::new() })))
    }

    /// A seat for a connection of `peer`, maybe in place of another; none where all that could make room are being served.
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

    /// Every change is one call into the crowd, so it is whole whatever happened to another holder.
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
    /// Whose it is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// It is being served.
    pub fn serve(&self) {
        self.connections.lock().crowd.serve(self.id);
    }

    /// It waits for its client.
    pub fn wait(&self) {
        self.connections.lock().crowd.wait(self.id);
    }

    /// Cancelled when the connection has to make room.
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
