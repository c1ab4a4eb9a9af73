//! The set of nodes, owned by one task: what names stand for comes in from one task for each name, what nodes show of
//! themselves from their probes; [`Roster`] decides, and everybody else reads the snapshot that is published.
//!
//! A lookup runs in a task of its own and is waited for however long it takes: a resolver that hangs holds up nothing
//! but the next lookup of that name, and takes one thread.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
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
    roster::{Joiner, Roster, Sight, Standing, Turn},
};

/// Between the end of a lookup and the next one of the same name.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often nodes that leave are looked after where nothing else happens.
const TICK: Duration = Duration::from_millis(250);
/// Answers of lookups that wait for the one who takes them.
const ANSWERS_MAX: usize = 64;

/// Asks for the addresses behind `host:port`.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The operating system's resolver.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }))
}

/// Every node at one moment.
#[derive(Default)]
pub struct Snapshot {
    /// Prefill nodes.
    pub prefill: Vec<Arc<Node>>,
    /// Decode nodes.
    pub decode: Vec<Arc<Node>>,
    /// What the configured names stand for.
    pub names: Vec<Name>,
}

/// A configured name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The role of the nodes behind it.
    pub role: Role,
    /// `host:port` as configured.
    pub name: String,
    /// What it stood for when it was last looked up with success.
    pub addresses: Vec<SocketAddr>,
    /// Why the last lookup failed; none: it did not.
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
struct Answer {
    role: Role,
    entry: usize,
    found: io::Result<Vec<SocketAddr>>,
}

/// What is known of the nodes of one role.
struct Side {
    role: Role,
    roster: Roster,
    running: HashMap<String, Running>,
    /// As last published.
    shown: Vec<Arc<Node>>,
}

/// A node and its probe, which ends with this.
struct Running {
    node: Arc<Node>,
    _probe: tokio_util::sync::DropGuard,
}

/// The owner of the set.
pub struct Discovery {
    sides: [Side; 2],
    channels: Channels,
    lookup: Lookup,
    /// Rung by probes when a node came or went.
    news: Arc<Notify>,
    published: watch::Sender<Arc<Snapshot>>,
    shutdown: CancellationToken,
}

impl Discovery {
    /// The nodes at configured addresses are there at once; names are looked up by [`Discovery::run`].
    pub fn new(
        prefill: &[String],
        decode: &[String],
        channels: &Channels,
        lookup: Lookup,
        shutdown: &CancellationToken,
    ) -> Result<Self, OpenError> {
        for address in prefill.iter().chain(decode) {
            // Opens nothing yet, but says now what would be wrong with it.
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

    /// Where the set can be read.
    pub fn published(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.published.subscribe()
    }

    /// Looks names up and keeps the set, until shutdown. `changed` hears of every set that is published.
    pub async fn run(mut self, changed: impl Fn(&Snapshot)) {
        let (sender, mut answers) = mpsc::channel(ANSWERS_MAX);
        for side in &self.sides {
            let names = side.roster.entries().iter().enumerate().filter(|(_, entry)| entry.is_name());
            for (entry, name) in names.map(|(index, entry)| (index, entry.configured.clone())) {
                let (lookup, sender, shutdown) = (self.lookup.clone(), sender.clone(), self.shutdown.clone());
                let role = side.role;
                let asking = async move {
                    loop {
                        let answer = Answer { role, entry, found: lookup(name.clone()).await };
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

    /// True if what the name stands for, or why that is not known, has changed.
    fn take(&mut self, answer: Answer) -> bool {
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

    /// Lets join and leave who should, and publishes if that, or a name, changed.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        let mut is_changed = false;
        for side in &mut self.sides {
            let turn = side.roster.turn(&side.sights(), now);
            is_changed |= side.apply(turn, &self.channels, &self.news, &self.shutdown);
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

    /// True if other nodes are shown now.
    fn apply(&mut self, turn: Turn, channels: &Channels, news: &Arc<Notify>, shutdown: &CancellationToken) -> bool {
        for address in &turn.leave {
            // Requests in flight keep the node itself, and its connection.
            self.running.remove(address);
            tracing::info!(address, role = ?self.role, "node left");
        }
        for joiner in &turn.join {
            match self.start(joiner, channels, news, shutdown) {
                Ok(running) => {
                    self.running.insert(joiner.address.clone(), running);
                    tracing::info!(address = joiner.address, role = ?self.role, name = joiner.name, "node joined");
                }
                Err(error) => tracing::warn!(%error, role = ?self.role, "an address cannot be a node"),
            }
        }
        let mut shown = Vec::new();
        for (address, standing) in &turn.members {
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
