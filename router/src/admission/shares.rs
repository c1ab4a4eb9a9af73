//! An amount that peers share, bounded in total and for each peer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::peer::Peer;

/// The largest amounts that may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bound for all peers together.
    pub total: usize,
    /// Bound for one peer.
    pub peer: usize,
}

/// The amounts taken so far, in total and by peer. Plain data without lock or clock.
#[derive(Debug, Default)]
pub struct Shares {
    total: usize,
    by_peer: HashMap<Peer, usize>,
}

/// A bounded number of permits, taken one at a time.
#[derive(Clone, Debug)]
pub struct Permits {
    bounds: Bounds,
    /// Counts of the permits taken; locked only while counting.
    shares: Arc<Mutex<Shares>>,
}

/// One permit, released on drop.
#[derive(Debug)]
pub struct Permit {
    peer: Peer,
    shares: Arc<Mutex<Shares>>,
}

impl Shares {
    /// Takes `amount` for `peer`, if that is within `bounds`.
    pub fn take(&mut self, peer: Peer, amount: usize, bounds: Bounds) -> bool {
        let fits = self.fits(peer, amount, bounds);
        if fits {
            self.total += amount;
            *self.by_peer.entry(peer).or_default() += amount;
        }
        fits
    }

    /// Whether `amount` could be taken.
    pub fn fits(&self, peer: Peer, amount: usize, bounds: Bounds) -> bool {
        let used = self.by_peer.get(&peer).copied().unwrap_or(0);
        self.total.saturating_add(amount) <= bounds.total && used.saturating_add(amount) <= bounds.peer
    }

    /// Gives back `amount` that `peer` took.
    pub fn give(&mut self, peer: Peer, amount: usize) {
        self.total = self.total.saturating_sub(amount);
        if let Some(used) = self.by_peer.get_mut(&peer) {
            *used = used.saturating_sub(amount);
            // Peers that hold nothing are removed, so the table does not grow with every peer there ever was.
            if *used == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }

    /// The amount taken by all peers.
    pub fn total(&self) -> usize {
        self.total
    }
}

impl Permits {
    /// A set of permits within `bounds`, none of them taken.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, shares: Arc::default() }
    }

    /// Takes a permit for `peer`, if one is free.
    pub fn take(&self, peer: Peer) -> Option<Permit> {
        let is_taken = lock(&self.shares).take(peer, 1, self.bounds);
        is_taken.then(|| Permit { peer, shares: self.shares.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.shares).give(self.peer, 1);
    }
}

/// Locks the counts even if another holder panicked: each update leaves them right.
fn lock(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(last: u8) -> Peer {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, last)).into()
    }

    #[test]
    fn neither_one_peer_nor_all_take_more_than_there_is() {
        let bounds = Bounds { total: 10, peer: 6 };
        let mut shares = Shares::default();
        assert!(shares.take(peer(1), 6, bounds));
        assert!(!shares.take(peer(1), 1, bounds), "its share is taken");
        assert!(!shares.take(peer(2), 5, bounds), "so much is not left");
        assert!(shares.take(peer(2), 4, bounds));
        assert!(!shares.take(peer(3), usize::MAX, bounds));
        shares.give(peer(1), 6);
        assert_eq!(shares.total(), 4);
        assert!(shares.take(peer(1), 6, bounds));
        shares.give(peer(1), 6);
        shares.give(peer(2), 4);
        assert!(shares.by_peer.is_empty(), "peers that hold nothing are forgotten");
    }

    #[test]
    fn places_come_back_on_drop() {
        let permits = Permits::new(Bounds { total: 2, peer: 1 });
        let first = permits.take(peer(1));
        assert!(first.is_some() && permits.take(peer(1)).is_none());
        let second = permits.take(peer(2));
        assert!(second.is_some() && permits.take(peer(3)).is_none());
        drop(first);
        assert!(permits.take(peer(3)).is_some());
    }
}
