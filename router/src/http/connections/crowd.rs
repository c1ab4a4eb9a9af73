//! Decides which connection makes room for a new one: plain data, no clock, no sockets.

use std::collections::{BTreeMap, HashMap};

use crate::admission::{Bounds, Peer};

/// Connections by peer and by state.
#[derive(Debug)]
pub struct Crowd {
    bounds: Bounds,
    /// Counter that grows with every wait that begins, which orders the waits.
    now: u64,
    members: HashMap<u64, Member>,
    groups: HashMap<Peer, Group>,
}

#[derive(Debug)]
struct Member {
    peer: Peer,
    /// Number of requests that are being served; over HTTP/2 there may be several.
    served: usize,
    /// Counter value at which the wait for the client began; `None` while a request is being served.
    waits_since: Option<u64>,
}

/// The connections of one peer.
#[derive(Debug, Default)]
struct Group {
    members: usize,
    /// Ids of waiting connections by the start of their wait, longest wait first.
    waiting: BTreeMap<u64, u64>,
}

/// The outcome for a new connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// The connection is accepted.
    Room,
    /// The connection is accepted in place of this one, which must be ended.
    Instead(u64),
    /// The connection is refused.
    Full,
}

impl Crowd {
    /// A crowd without connections.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, now: 0, members: HashMap::new(), groups: HashMap::new() }
    }

    /// Adds connection `id` of `peer`, which waits for its client.
    pub fn enter(&mut self, id: u64, peer: Peer) -> Entry {
        let is_peer_full = self.groups.get(&peer).is_some_and(|group| group.members >= self.bounds.peer);
        let replaced = if is_peer_full {
            self.groups.get(&peer).and_then(Group::longest_waiting)
        } else if self.members.len() >= self.bounds.total {
            self.longest_waiting()
        } else {
            self.add(id, peer);
            return Entry::Room;
        };
        let Some(replaced) = replaced else { return Entry::Full };
        self.leave(replaced);
        self.add(id, peer);
        Entry::Instead(replaced)
    }

    fn add(&mut self, id: u64, peer: Peer) {
        self.members.insert(id, Member { peer, served: 0, waits_since: None });
        self.groups.entry(peer).or_default().members += 1;
        self.begin_wait(id);
    }

    /// The connection that has waited longest, of the peer with the most connections.
    pub fn longest_waiting(&self) -> Option<u64> {
        let waiting = self.groups.values().filter(|group| !group.waiting.is_empty());
        waiting.max_by_key(|group| group.members).and_then(Group::longest_waiting)
    }

    /// Counts one more request of connection `id` that is being served.
    pub fn serve(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.served += 1;
        self.end_wait(id);
    }

    /// Counts one request less. After the last one, the connection waits for its client.
    pub fn wait(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.served = member.served.saturating_sub(1);
        if member.served == 0 {
            self.end_wait(id);
            self.begin_wait(id);
        }
    }

    fn begin_wait(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        self.now += 1;
        member.waits_since = Some(self.now);
        self.groups.entry(member.peer).or_default().waiting.insert(self.now, id);
    }

    fn end_wait(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let (Some(since), Some(group)) = (member.waits_since.take(), self.groups.get_mut(&member.peer)) {
            group.waiting.remove(&since);
        }
    }

    /// Removes connection `id`.
    pub fn leave(&mut self, id: u64) {
        self.end_wait(id);
        let Some(member) = self.members.remove(&id) else { return };
        if let Some(group) = self.groups.get_mut(&member.peer) {
            group.members -= 1;
            if group.members == 0 {
                self.groups.remove(&member.peer);
            }
        }
    }
}

impl Group {
    fn longest_waiting(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(last: u8) -> Peer {
        IpAddr::from(Ipv4Addr::new(10, 0, 0, last)).into()
    }

    fn crowd() -> Crowd {
        Crowd::new(Bounds { total: 4, peer: 3 })
    }

    #[test]
    fn who_has_waited_longest_makes_room_within_its_peer() {
        let mut crowd = crowd();
        for id in 0..3 {
            assert_eq!(crowd.enter(id, peer(1)), Entry::Room);
        }
        crowd.serve(0);
        assert_eq!(crowd.enter(3, peer(1)), Entry::Instead(1), "the first is being served");
        crowd.serve(2);
        crowd.wait(0);
        crowd.serve(3);
        assert_eq!(crowd.enter(4, peer(1)), Entry::Instead(0));
        crowd.serve(4);
        assert_eq!(crowd.enter(5, peer(1)), Entry::Full);
        crowd.leave(2);
        assert_eq!(crowd.enter(5, peer(1)), Entry::Room);
    }

    #[test]
    fn a_connection_waits_when_its_last_request_is_served() {
        let mut crowd = crowd();
        for id in 0..3 {
            crowd.enter(id, peer(1));
        }
        crowd.serve(0);
        crowd.serve(0);
        crowd.serve(1);
        crowd.serve(2);
        crowd.wait(0);
        assert_eq!(crowd.longest_waiting(), None, "one of two requests is still being served");
        crowd.wait(0);
        crowd.wait(1);
        assert_eq!(crowd.enter(3, peer(1)), Entry::Instead(0));
        assert_eq!(crowd.longest_waiting(), Some(1));
    }

    #[test]
    fn the_peer_with_the_most_makes_room_for_others() {
        let mut crowd = crowd();
        assert_eq!(crowd.enter(0, peer(2)), Entry::Room);
        for id in 1..4 {
            assert_eq!(crowd.enter(id, peer(1)), Entry::Room);
        }
        assert_eq!(crowd.enter(4, peer(3)), Entry::Instead(1), "not the one that waits longest of all");
        assert_eq!(crowd.longest_waiting(), Some(2));
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let mut crowd = crowd();
        for id in 0..10 {
            crowd.enter(id, peer(1));
            crowd.serve(id);
            crowd.leave(id);
            crowd.wait(id);
            crowd.leave(id);
        }
        assert!(crowd.members.is_empty() && crowd.groups.is_empty());
        assert_eq!(crowd.longest_waiting(), None);
    }
}
