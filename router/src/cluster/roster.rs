//! Decides which addresses of one role are nodes. In: the configured entries, the addresses of names, and the state of
//! each address. Out: which addresses join, leave and count. Plain data; no resolver, no lock, no runtime.
//!
//! ```text
//!  listed ──▶ joins ──▶ counts ◀──────▶ hidden: same process as another address, or of a family that does not answer
//!                          │
//!                not listed any more
//!                          ▼
//!            leaves, once it holds no request of this router or stops answering; takes no new requests meanwhile
//! ```
//!
//! A failed lookup changes nothing: listed addresses stay listed, unless they have been down for [`GHOST_MAX`] as well.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// Time after which a node that is down is removed while its name cannot be looked up; it returns with the name.
const GHOST_MAX: Duration = Duration::from_secs(30);
/// Most addresses taken from one name.
const ADDRESSES_MAX: usize = 1_024;

/// The state of an address, as its probe sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether the address answers.
    pub is_up: bool,
    /// Id of the process that answers there; empty if it does not say or has never answered.
    pub instance: String,
    /// Requests of this router that hold the node.
    pub in_flight: u32,
}

/// The standing of a member in the published set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The member is a node.
    Counts,
    /// The member is a node that takes no new requests, since no name resolves to it any more.
    Leaves,
    /// The member is neither shown nor used: another member stands for it.
    Hidden,
}

/// An address that becomes a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    /// `host:port`.
    pub address: String,
    /// The host name that resolves to this address; `None` if the address itself was configured.
    pub name: Option<String>,
}

/// The changes and the members after one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New members.
    pub join: Vec<Joiner>,
    /// Addresses that are no longer members.
    pub leave: Vec<String>,
    /// All members in a stable order.
    pub members: Vec<(String, Standing)>,
}

/// One configured entry and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `host:port` as configured.
    pub configured: String,
    /// The host, if it is a name.
    name: Option<String>,
    /// Addresses that the last successful lookup found.
    pub addresses: Vec<SocketAddr>,
    /// Why the last lookup failed; `None` if it succeeded.
    pub failure: Option<String>,
}

#[derive(Debug)]
struct Member {
    address: String,
    /// Position in the stable order: by entry, then IPv4 before IPv6, then by address.
    order: (usize, SocketAddr),
    /// Id of the process that answered there last; empty if none has.
    instance: String,
    is_up: bool,
    has_answered: bool,
    in_flight: u32,
    /// Time since which the address has not answered.
    down_since: Instant,
    /// Address of another member that leads to the same process.
    same_as: Option<SocketAddr>,
}

/// The members of one role.
#[derive(Debug)]
pub struct Roster {
    entries: Vec<Entry>,
    /// The members in their stable order.
    members: Vec<Member>,
}

impl Entry {
    fn new(configured: &str) -> Self {
        let fixed: Option<SocketAddr> = configured.parse().ok();
        let host = configured.rsplit_once(':').map_or(configured, |(host, _)| host);
        Self {
            configured: configured.to_owned(),
            name: fixed.is_none().then(|| host.to_owned()),
            addresses: fixed.into_iter().collect(),
            failure: fixed.is_none().then(|| "not looked up yet".to_owned()),
        }
    }

    /// Whether the entry is a name, which has to be looked up.
    pub fn is_name(&self) -> bool {
        self.name.is_some()
    }
}

impl Roster {
    /// A roster in which no name has been looked up yet.
    pub fn new(configured: &[String]) -> Self {
        Self { entries: configured.iter().map(|text| Entry::new(text)).collect(), members: Vec::new() }
    }

    /// The configured entries and their addresses.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Records a lookup's result; returns whether it changed the entry.
    pub fn answered(&mut self, entry: usize, answer: Result<Vec<SocketAddr>, String>) -> bool {
        let Some(entry) = self.entries.get_mut(entry) else { return false };
        let before = entry.clone();
        match answer {
            Ok(addresses) => {
                entry.addresses = usable(addresses);
                entry.failure = entry.addresses.is_empty().then(|| "it has no address".to_owned());
            }
            Err(why) => entry.failure = Some(why),
        }
        *entry != before
    }

    /// Decides which addresses join, leave and count, given the current state of each member.
    pub fn turn(&mut self, sights: &HashMap<String, Sight>, now: Instant) -> Changes {
        self.look(sights, now);
        let leave = self.part(now);
        let join = self.admit(now);
        self.match_processes();
        let silent = self.silent_families();
        let standing = |member: &Member| {
            if !self.is_listed(&member.order.1) {
                Standing::Leaves
            } else if member.same_as.is_some() || !member.has_answered && silent.contains(&family(member)) {
                Standing::Hidden
            } else {
                Standing::Counts
            }
        };
        let members = self.members.iter().map(|member| (member.address.clone(), standing(member))).collect();
        Changes { join, leave, members }
    }

    fn look(&mut self, sights: &HashMap<String, Sight>, now: Instant) {
        for member in &mut self.members {
            let Some(sight) = sights.get(&member.address) else { continue };
            if member.is_up && !sight.is_up {
                member.down_since = now;
            }
            (member.is_up, member.in_flight) = (sight.is_up, sight.in_flight);
            if sight.is_up {
                member.has_answered = true;
                member.instance.clone_from(&sight.instance);
            }
        }
    }

    /// Removes the members that are no longer listed and hold no request or do not answer.
    fn part(&mut self, now: Instant) -> Vec<String> {
        let ghosts: Vec<SocketAddr> = self
            .members
            .iter()
            .filter(|member| !member.is_up && now.saturating_duration_since(member.down_since) >= GHOST_MAX)
            .map(|member| member.order.1)
            .collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.is_name() && entry.failure.is_some()) {
            entry.addresses.retain(|address| !ghosts.contains(address));
        }
        let (stay, leave): (Vec<Member>, Vec<Member>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| self.is_listed(&member.order.1) || member.is_up && member.in_flight > 0);
        self.members = stay;
        leave.into_iter().map(|member| member.address).collect()
    }

    fn admit(&mut self, now: Instant) -> Vec<Joiner> {
        let mut join = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            for address in &entry.addresses {
                if self.members.iter().any(|member| member.order.1 == *address) {
                    continue;
                }
                // A configured address is shown as the operator wrote it.
                let text = if entry.is_name() { address.to_string() } else { entry.configured.clone() };
                join.push(Joiner { address: text.clone(), name: entry.name.clone() });
                self.members.push(Member::new(text, (index, *address), now));
            }
        }
        // `SocketAddr` orders IPv4 first.
        self.members.sort_by_key(|member| member.order);
        join
    }

    fn is_listed(&self, address: &SocketAddr) -> bool {
        self.entries.iter().any(|entry| entry.addresses.contains(address))
    }

    /// Finds addresses that lead to the same process; the first that answers stands for all of them. An address that is
    /// down keeps its match, since the process may have restarted with another id; if it stood for others, one of them
    /// that is up stands for it now.
    fn match_processes(&mut self) {
        let listed: Vec<&Member> = self.members.iter().filter(|member| self.is_listed(&member.order.1)).collect();
        let leader = |member: &Member| {
            let mut leaders = listed.iter().filter(|leader| leader.is_up && !leader.instance.is_empty());
            leaders.find(|leader| leader.instance == member.instance).map(|leader| leader.order.1)
        };
        let company = |member: &Member| {
            let mut followers = listed.iter().filter(|other| other.is_up && other.same_as == Some(member.order.1));
            let follower = followers.next().map(|other| other.order.1);
            let led_by = member.same_as.filter(|address| listed.iter().any(|other| other.order.1 == *address));
            follower.or(led_by).filter(|_| !member.is_up)
        };
        let same_as =
            |member: &Member| leader(member).or_else(|| company(member)).filter(|address| *address != member.order.1);
        let matched: Vec<Option<SocketAddr>> = self.members.iter().map(same_as).collect();
        for (member, same_as) in self.members.iter_mut().zip(matched) {
            member.same_as = same_as;
        }
    }

    /// Entry and address family of addresses that have never answered while the entry's other family does, or may.
    ///
    /// A name such as `localhost` has an IPv4 and an IPv6 address, and a node listens on one of them; the other address
    /// must not count as a node that is down.
    fn silent_families(&self) -> Vec<(usize, bool)> {
        let mut silent = Vec::new();
        for entry in 0..self.entries.len() {
            let of = |is_v6: bool| self.members.iter().filter(move |member| family(member) == (entry, is_v6));
            let has_spoken = |is_v6: bool| of(is_v6).any(|member| member.has_answered);
            if of(false).next().is_none() || of(true).next().is_none() {
                continue;
            }
            match (has_spoken(false), has_spoken(true)) {
                (false, true) => silent.push((entry, false)),
                // If neither family has answered yet, IPv4 is still shown, so that the entry is visible.
                (true, false) | (false, false) => silent.push((entry, true)),
                (true, true) => {}
            }
        }
        silent
    }
}

impl Member {
    fn new(address: String, order: (usize, SocketAddr), now: Instant) -> Self {
        Self {
            address,
            order,
            instance: String::new(),
            is_up: false,
            has_answered: false,
            in_flight: 0,
            down_since: now,
            same_as: None,
        }
    }
}

fn family(member: &Member) -> (usize, bool) {
    (member.order.0, member.order.1.is_ipv6())
}

/// Sorts and deduplicates addresses and removes those that cannot be called: a link-local address needs its interface.
fn usable(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.retain(|address| !matches!(address, SocketAddr::V6(address) if address.ip().is_unicast_link_local()));
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

#[cfg(test)]
mod any_sight;
#[cfg(test)]
mod tests;
