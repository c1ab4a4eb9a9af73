//! Maintains the set of nodes in one task. Lookup results come in from one task for each name, and node states from the
//! probes; [`Roster`] decides which nodes join and leave, and all readers use the snapshot that is published.
//!
//! Each name's lookups run in a task of their own and have no timeout: a resolver that hangs delays only the next
//! lookup of that name, and takes one thread.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use secateur_channel::{Channels, OpenError};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::v1::Role;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    node::Node,
    probe,
    roster::{Changes, Joiner, Roster, Sight, Standing},
};
use crate::lookup::Lookup;

/// Pause between the end of a lookup and the next lookup of the same name.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which leaving nodes are checked when no other event occurs.
const TICK: Duration = Duration::from_millis(250);
/// Capacity of the channel of lookup results.
const ANSWERS_MAX: usize = 64;

/// Every node at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Prefill nodes.
    pub prefill: Vec<Arc<Node>>,
    /// Decode nodes.
    pub decode: Vec<Arc<Node>>,
    /// The configured names and their addresses.
    pub names: Vec<Name>,
}

/// A configured name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The role of the nodes behind it.
    pub role: Role,
    /// `host:port` as configured.
    pub name: String,
    /// Addresses that the last successful lookup found.
    pub addresses: Vec<SocketAddr>,
    /// Why the last lookup failed; `None` if it succeeded.
    pub failure: Option<String>,
}

impl Snapshot {
    /// Every node, prefill first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.prefill.iter().chain(&self.decode)
    }

    /// Whether a node is at this address.
    pub fn has(&self, address: &str) -> bool {
        self.nodes().any(|node| *node.address == *address)
    }
}

/// The result of one lookup.
struct Resolved {
    role: Role,
    /// Index of the name among the entries of its role's roster.
    entry: usize,
    found: io::Result<Vec<SocketAddr>>,
}

/// The nodes of one role.
struct Side {
    role: Role,
    roster: Roster,
    running: HashMap<String, Running>,
    /// The nodes as last published.
    shown: Vec<Arc<Node>>,
}

/// A node and the guard of its probe task, which stops on drop.
struct Running {
    node: Arc<Node>,
    _probe: tokio_util::sync::DropGuard,
}

/// The owner of the set of nodes.
pub struct Discovery {
    sides: [Side; 2],
    channels: Channels,
    lookup: Lookup,
    /// Notified by probes when a node comes up or goes down.
    news: Arc<Notify>,
    published: watch::Sender<Arc<Snapshot>>,
    shutdown: CancellationToken,
}

impl Discovery {
    /// Starts with the nodes at configured addresses; names are looked up later, by [`Discovery::run`].
    pub fn new(
        prefill: &[String],
        decode: &[String],
        channels: &Channels,
        lookup: Lookup,
        shutdown: &CancellationToken,
    ) -> Result<Self, OpenError> {
        for address in prefill.iter().chain(decode) {
            // This opens no connection; it reports an address that cannot be used at start-up.
            Node::new(address, None, Role::Unspecified, channels)?;
        }
        let side = |role, configured: &[String]| Side {
            role,
            roster: Roster::new(configured),
            running: HashMap::new(),
            shown: Vec::new(),
        };
        let mut discovery = Self {
            sides: [side(Role::Prefill, prefill), side(Role::Decode, decode)],
            channels: channels.clone(),
            lookup,
            news: Arc::default(),
            published: watch::Sender::default(),
            shutdown: shutdown.clone(),
        };
        discovery.turn();
        Ok(discovery)
    }

    /// A receiver of the published snapshots.
    pub fn published(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.published.subscribe()
    }

    /// Looks names up and maintains the set until shutdown. `changed` is called with the snapshot after each change.
    pub async fn run(mut self, changed: impl Fn(&Snapshot)) {
        let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
        for side in &self.sides {
            let names = side.roster.entries().iter().enumerate().filter(|(_, entry)| entry.is_name());
            for (entry, name) in names.map(|(index, entry)| (index, entry.configured.clone())) {
                let (lookup, sender, shutdown) = (self.lookup.clone(), sender.clone(), self.shutdown.clone());
                let role = side.role;
                let asking = async move {
                    loop {
                        let answer = Resolved { role, entry, found: lookup(name.clone()).await };
                        if sender.send(answer).await.is_err() {
                            return;
                        }
                        sleep(INTERVAL).await;
                    }
                };
                tokio::spawn(async move { shutdown.run_until_cancelled(asking).await });
            }
        }
        drop(sender);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let news = self.news.clone();
        loop {
            let is_news = tokio::select! {
                Some(answer) = answers.recv() => self.take(answer),
                () = news.notified() => false,
                _ = tick.tick() => false,
                () = self.shutdown.cancelled() => return,
            };
            if self.turn() || is_news {
                changed(&self.published.borrow());
            }
        }
    }

    /// Records a lookup result; returns whether the name's addresses or its failure changed.
    fn take(&mut self, answer: Resolved) -> bool {
        let Some(side) = self.sides.iter_mut().find(|side| side.role == answer.role) else { return false };
        let found = answer.found.map_err(|error| error.to_string());
        let is_news = side.roster.answered(answer.entry, found);
        if is_news && let Some(entry) = side.roster.entries().get(answer.entry) {
            match &entry.failure {
                Some(why) => tracing::warn!(name = entry.configured, why, "a name could not be looked up"),
                None => tracing::info!(name = entry.configured, addresses = ?entry.addresses, "a name was looked up"),
            }
        }
        is_news
    }

    /// Lets nodes join and leave as the roster decides; publishes a snapshot and returns true if nodes or names
    /// changed.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        let mut is_changed = false;
        for side in &mut self.sides {
            let changes = side.roster.turn(&side.sights(), now);
            is_changed |= side.apply(changes, &self.channels, &self.news, &self.shutdown);
        }
        let names = self.sides.iter().flat_map(Side::names).collect();
        is_changed |= self.published.borrow().names != names;
        if is_changed {
            let [prefill, decode] = self.sides.each_ref().map(|side| side.shown.clone());
            self.published.send_replace(Arc::new(Snapshot { prefill, decode, names }));
        }
        is_changed
    }
}

impl Side {
    fn sights(&self) -> HashMap<String, Sight> {
        self.running.iter().map(|(address, running)| (address.clone(), running.node.sight())).collect()
    }

    /// Applies the roster's decision; returns whether the published nodes changed.
    fn apply(
        &mut self,
        changes: Changes,
        channels: &Channels,
        news: &Arc<Notify>,
        shutdown: &CancellationToken,
    ) -> bool {
        for address in &changes.leave {
            // Requests in flight keep the node and its connection alive.
            self.running.remove(address);
            tracing::info!(address, role = ?self.role, "node left");
        }
        for joiner in &changes.join {
            match self.start(joiner, channels, news, shutdown) {
                Ok(running) => {
                    self.running.insert(joiner.address.clone(), running);
                    tracing::info!(address = joiner.address, role = ?self.role, name = joiner.name, "node joined");
                }
                Err(error) => tracing::warn!(%error, role = ?self.role, "an address cannot be a node"),
            }
        }
        let mut shown = Vec::new();
        for (address, standing) in &changes.members {
            let Some(running) = self.running.get(address) else { continue };
            running.node.set_leaving(*standing == Standing::Leaves);
            if *standing != Standing::Hidden {
                shown.push(running.node.clone());
            }
        }
        let is_same = shown.len() == self.shown.len() && shown.iter().zip(&self.shown).all(|(a, b)| Arc::ptr_eq(a, b));
        self.shown = shown;
        !is_same
    }

    /// A node at a new address, and its probe.
    fn start(
        &self,
        joiner: &Joiner,
        channels: &Channels,
        news: &Arc<Notify>,
        shutdown: &CancellationToken,
    ) -> Result<Running, OpenError> {
        let node = Arc::new(Node::new(&joiner.address, joiner.name.as_deref(), self.role, channels)?);
        let stop = shutdown.child_token();
        tokio::spawn(probe::run(node.clone(), news.clone(), stop.clone()));
        Ok(Running { node, _probe: stop.drop_guard() })
    }

    fn names(&self) -> impl Iterator<Item = Name> {
        self.roster.entries().iter().filter(|entry| entry.is_name()).map(|entry| Name {
            role: self.role,
            name: entry.configured.clone(),
            addresses: entry.addresses.clone(),
            failure: entry.failure.clone(),
        })
    }
}
