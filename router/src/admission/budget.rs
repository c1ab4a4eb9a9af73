//! The memory that requests hold: bodies as they arrive, the data parsed from them, and pictures until the answer ends.
//!
//! Bytes are counted when they arrive, not when they are announced: a `Content-Length` costs its sender nothing, and
//! memory reserved for it would be denied to clients that do send. A body may therefore be refused midway because
//! others took the memory first, but never once it has all the memory it needs.
//!
//! Three rules keep a few large requests from crowding out many small ones. The first [`FREE`] bytes of each request
//! are not counted, since the number of connections, and of requests over HTTP/2, bounds them already. One peer may hold
//! at most half of the budget. Requests of more than [`SMALL_MAX`] bytes may use only three quarters of either bound.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use secateur_proto::{ErrorCode, ServiceError};

use super::{
    peer::Peer,
    shares::{Bounds, Shares},
};

/// Bytes of each request that are not counted.
pub const FREE: usize = 32 * 1024;
/// Largest size of a small request, in bytes; only three quarters of the budget are open to larger ones.
const SMALL_MAX: usize = 1024 * 1024;

/// The memory that all requests share.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes_max: usize,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    shares: Shares,
    holders: usize,
}

/// The memory that one request holds; all of it is released on drop.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    peer: Peer,
    /// Counted bytes; written with the ledger locked.
    weight: AtomicUsize,
}

impl Budget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ledger: Arc::default() }
    }

    /// Registers a request of `peer`, which holds no bytes yet.
    pub fn holder(&self, peer: Peer) -> Held {
        self.lock().holders += 1;
        Held { budget: self.clone(), peer, weight: AtomicUsize::new(0) }
    }

    /// Number of requests that hold memory or are about to.
    pub fn holders(&self) -> usize {
        self.lock().holders
    }

    /// Counted bytes that all requests hold.
    pub fn bytes(&self) -> usize {
        self.lock().shares.total()
    }

    /// Locks the ledger even if another holder panicked: each update leaves the sums right.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bounds for a request that holds `bytes`.
    fn bounds(&self, bytes: usize) -> Bounds {
        let total = if bytes > SMALL_MAX { self.bytes_max / 4 * 3 } else { self.bytes_max };
        Bounds { total, peer: total / 2 }
    }
}

impl Held {
    /// Sets the memory that the request holds to `bytes`. An error leaves it unchanged.
    pub fn resize(&self, bytes: usize) -> Result<(), ServiceError> {
        self.change(|_| bytes)
    }

    /// Adds `more` bytes to the memory that the request holds; none of them are free. An error leaves it unchanged.
    pub fn grow(&self, more: usize) -> Result<(), ServiceError> {
        self.change(|counted| counted.saturating_add(FREE).saturating_add(more))
    }

    /// Sets the memory that the request holds, given the bytes that are counted now.
    fn change(&self, bytes: impl FnOnce(usize) -> usize) -> Result<(), ServiceError> {
        let mut ledger = self.budget.lock();
        let old = self.weight.load(Ordering::Relaxed);
        let bytes = bytes(old);
        let (bounds, new) = (self.budget.bounds(bytes), bytes.saturating_sub(FREE));
        if new <= old {
            ledger.shares.give(self.peer, old - new);
        } else if new > bounds.peer {
            return Err(never(bytes, bounds));
        } else if !ledger.shares.take(self.peer, new - old, bounds) {
            return Err(busy());
        }
        self.weight.store(new, Ordering::Relaxed);
        Ok(())
    }

    /// Whether [`Held::resize`] would succeed now.
    pub fn check(&self, bytes: usize) -> Result<(), ServiceError> {
        let (bounds, new) = (self.budget.bounds(bytes), bytes.saturating_sub(FREE));
        let more = new.saturating_sub(self.weight.load(Ordering::Relaxed));
        if new > bounds.peer {
            return Err(never(bytes, bounds));
        }
        if self.budget.lock().shares.fits(self.peer, more, bounds) { Ok(()) } else { Err(busy()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut ledger = self.budget.lock();
        ledger.shares.give(self.peer, self.weight.load(Ordering::Relaxed));
        ledger.holders = ledger.holders.saturating_sub(1);
    }
}

fn never(bytes: usize, bounds: Bounds) -> ServiceError {
    let most = bounds.peer;
    let message = format!("the request takes about {bytes} bytes of memory; one request may take {most}");
    ServiceError::new(ErrorCode::PayloadTooLarge, message)
}

fn busy() -> ServiceError {
    ServiceError::new(ErrorCode::Overloaded, "requests hold all the memory that they may; try again soon")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn peer(last: u8) -> Peer {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, last)).into()
    }

    fn code(outcome: Result<(), ServiceError>) -> Option<ErrorCode> {
        outcome.err().map(|error| error.code)
    }

    #[test]
    fn large_holders_leave_room_for_small_ones_and_for_other_peers() {
        let budget = Budget::new(80 * MIB);
        let large: Vec<Held> = (0..3).map(|_| budget.holder(peer(1))).collect();
        large.iter().for_each(|held| held.resize(10 * MIB).unwrap());
        let more = budget.holder(peer(1));
        assert_eq!(code(more.check(2 * MIB)), Some(ErrorCode::Overloaded), "three quarters of half are taken");
        assert_eq!(code(more.resize(2 * MIB)), Some(ErrorCode::Overloaded));
        more.resize(MIB).unwrap();
        budget.holder(peer(2)).resize(28 * MIB).unwrap();
        let tiny: Vec<Held> = (0..10_000).map(|_| budget.holder(peer(1))).collect();
        tiny.iter().for_each(|held| held.resize(FREE).unwrap());
        drop((large, more, tiny));
        assert_eq!((budget.bytes(), budget.holders()), (0, 0));
    }

    #[test]
    fn what_comes_later_is_counted_whole_in_however_small_pieces() {
        let budget = Budget::new(8 * MIB);
        let held = budget.holder(peer(1));
        (0..64).for_each(|_| held.grow(FREE / 2).unwrap());
        assert_eq!(budget.bytes(), 32 * FREE);
        assert_eq!(code(held.grow(4 * MIB)), Some(ErrorCode::PayloadTooLarge));
        held.resize(2 * FREE).unwrap();
        assert_eq!(budget.bytes(), FREE);
    }

    #[test]
    fn what_could_never_be_held_is_too_large_and_changes_nothing() {
        let budget = Budget::new(8 * MIB);
        let held = budget.holder(peer(1));
        held.resize(2 * MIB).unwrap();
        assert_eq!(code(held.resize(4 * MIB)), Some(ErrorCode::PayloadTooLarge));
        assert_eq!(budget.bytes(), 2 * MIB - FREE);
        held.resize(0).unwrap();
        assert_eq!(budget.bytes(), 0);
    }
}
