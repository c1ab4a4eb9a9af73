//! The memory that requests hold: bodies as they arrive, what is made of them, and pictures until the answer's end.
//!
//! Bytes are weighed when they are there, not when they are announced: a `Content-Length` costs its sender nothing, and
//! memory that was set aside for it would be denied to those who do send. Hence a body may be refused in its middle, when
//! others were faster; but never one that has the memory that it needs.
//!
//! Three rules keep the many small requests out of the way of a few large ones. The first [`FREE`] bytes of each count
//! for nothing, as the number of connections bounds them already. One peer has at most half of all. And holders of more
//! than [`SMALL_MAX`] have three quarters of either.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use secateur_proto::{ErrorCode, ServiceError};

use super::{
    peer::Peer,
    shares::{Bounds, Shares},
};

/// Bytes of each request that are not weighed.
pub const FREE: usize = 32 * 1024;
/// A holder of more is a large one.
const SMALL_MAX: usize = 1024 * 1024;

/// The memory there is.
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

/// What one request holds; all of it comes back on drop.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    peer: Peer,
    /// Weighed bytes; written with the ledger locked.
    weight: AtomicUsize,
}

impl Budget {
    /// At most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ledger: Arc::default() }
    }

    /// A request of `peer` that holds nothing yet.
    pub fn holder(&self, peer: Peer) -> Held {
        self.lock().holders += 1;
        Held { budget: self.clone(), peer, weight: AtomicUsize::new(0) }
    }

    /// Requests that hold something or are about to.
    pub fn holders(&self) -> usize {
        self.lock().holders
    }

    /// Bytes that all requests hold, but for what is not weighed.
    pub fn bytes(&self) -> usize {
        self.lock().shares.total()
    }

    /// Sums are right whatever happened to another holder.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a holder of `bytes`.
    fn bounds(&self, bytes: usize) -> Bounds {
        let total = if bytes > SMALL_MAX { self.bytes_max / 4 * 3 } else { self.bytes_max };
        Bounds { total, peer: total / 2 }
    }
}

impl Held {
    /// From now on the request holds `bytes`. What is refused changes nothing.
    pub fn resize(&self, bytes: usize) -> Result<(), ServiceError> {
        let (bounds, new) = (self.budget.bounds(bytes), bytes.saturating_sub(FREE));
        let mut ledger = self.budget.lock();
        let old = self.weight.load(Ordering::Relaxed);
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
    let message = format!("reading the body takes about {bytes} bytes of memory; one request may take {most}");
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
