//! The nodes: which exist, what state they are in, and which two serve the next request.
//!
//! [`discovery`] looks configured names up periodically and owns the set of nodes; [`roster`] decides which nodes join
//! and leave. One task for each node asks it to describe itself and publishes the answer ([`probe`]). [`pairing`] is a
//! pure function of these snapshots and of what [`links`], [`faults`], [`pace`] and [`affinity`] remember of earlier
//! requests; [`policy`] decides what is shipped. [`Cluster`] ties all of them together and counts the requests in
//! flight.

mod affinity;
mod candidate;
mod discovery;
pub mod faults;
mod forecast;
pub mod links;
mod liveness;
mod node;
pub mod pace;
pub mod pairing;
mod placement;
pub mod policy;
mod probe;
mod roster;
mod single;
mod view;
mod wish;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secateur_channel::{Channels, OpenError};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    ServiceError,
    v1::{FirstToken, TransferReport},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

pub use affinity::{Near, Prefix, prefixes};
pub use discovery::{Name, Snapshot};
pub use node::{Node, role_name};
pub use placement::{Facts, Placement};
pub use policy::Decision;
pub use single::{Single, SingleWish};
pub use view::NodeState;
pub use wish::{Blame, Bulk, Failure, Pair, Wish};

use crate::{config::PlacementMode, lookup::Lookup};
use affinity::Affinity;
use discovery::Discovery;
use faults::Faults;
use forecast::Outlook;
use links::Links;
use pace::Paces;
use pairing::{Choice, NodeView};

/// Time for which a request without a token waits for a missing pair: enough for a broken connection to be restored,
/// and short enough for a prompt refusal.
pub const PAIR_PATIENCE: Duration = Duration::from_secs(1);
/// Interval at which a waiting request looks for a pair. A pair can become usable by a change of node states, names or
/// node descriptions, so there is no single event to wait for; a look takes microseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The configured addresses of the nodes, and how they are resolved.
pub struct Sites<'a> {
    /// Prefill nodes, `host:port`; hosts may be names, and every address behind a name is a node.
    pub prefill: &'a [String],
    /// Decode nodes, `host:port`; hosts may be names, and every address behind a name is a node.
    pub decode: &'a [String],
    /// The resolver of names.
    pub lookup: Lookup,
}

/// All nodes that the router knows, and what it remembers of earlier requests.
pub struct Cluster {
    /// The current snapshot, written by discovery alone.
    nodes: watch::Receiver<Arc<Snapshot>>,
    tokenizer_digest: String,
    mode: PlacementMode,
    /// Measurements and affinities from earlier requests. Locked while a pair is chosen and counted, so that concurrent
    /// requests do not choose the same idle pair. Never held across an await.
    memory: Arc<Mutex<Memory>>,
}

/// Measurements and affinities from earlier requests.
#[derive(Debug, Default)]
struct Memory {
    /// Counter that spreads requests over equally good pairs.
    turn: usize,
    links: Links,
    faults: Faults,
    paces: Paces,
    affinity: Affinity,
}

impl Memory {
    fn outlook(&self, mode: PlacementMode) -> Outlook<'_> {
        Outlook { mode, links: &self.links, faults: &self.faults, paces: &self.paces, now: Instant::now() }
    }

    /// Removes the measurements of nodes that are not in `nodes`.
    fn retain(&mut self, nodes: &Snapshot) {
        self.links.retain(|address| nodes.has(address));
        self.faults.retain(|address| nodes.has(address));
        self.paces.retain(|address| nodes.has(address));
    }
}

impl Cluster {
    /// Starts to look names up and to probe nodes until `shutdown`; `channels` opens the connections to them.
    pub fn start(
        sites: &Sites<'_>,
        channels: &Channels,
        tokenizer_digest: String,
        mode: PlacementMode,
        shutdown: &CancellationToken,
    ) -> Result<Self, OpenError> {
        let lookup = sites.lookup.clone();
        let discovery = Discovery::new(sites.prefill, sites.decode, channels, lookup, shutdown)?;
        let (nodes, memory) = (discovery.published(), Arc::<Mutex<Memory>>::default());
        let remembers = memory.clone();
        tokio::spawn(discovery.run(move |nodes| lock(&remembers).retain(nodes)));
        Ok(Self { nodes, tokenizer_digest, mode, memory })
    }

    /// Every node at this moment.
    pub fn nodes(&self) -> Arc<Snapshot> {
        self.nodes.borrow().clone()
    }

    /// The placement mode.
    pub fn mode(&self) -> PlacementMode {
        self.mode
    }

    /// The current measurements of the links and of the nodes.
    pub fn measured(&self) -> (Links, Paces) {
        let memory = self.memory();
        (memory.links.clone(), memory.paces.clone())
    }

    /// The links that failed lately.
    pub fn faults(&self) -> Faults {
        self.memory().faults.clone()
    }

    /// Like [`Cluster::facts`], but waits until `until` if there is no pair.
    pub async fn facts_by(&self, until: Instant) -> Result<Facts, ServiceError> {
        waiting(until, || self.facts()).await
    }

    /// Like [`Cluster::place`], but waits until `until` if there is no pair.
    pub async fn place_by(&self, wish: &Wish, until: Instant) -> Result<Placement, ServiceError> {
        waiting(until, || self.place(wish)).await
    }

    /// Facts of the pair with the most room: a request that does not fit there fits nowhere. The error says why there
    /// is no pair.
    pub fn facts(&self) -> Result<Facts, ServiceError> {
        let (prefill, decode) = views(&self.nodes());
        let largest = Wish { positions: u32::MAX, ..Wish::default() };
        let memory = self.memory();
        let outlook = memory.outlook(self.mode);
        let choice = pairing::choose(&prefill, &decode, &self.tokenizer_digest, &largest, &outlook, 0)?;
        Ok(Facts::of(&prefill[choice.prefill], &decode[choice.decode]))
    }

    /// [`Facts::max_positions`] of [`Cluster::facts`], without the rest; `None` where there is no pair.
    pub fn max_positions(&self) -> Option<u32> {
        let (prefill, decode) = views(&self.nodes());
        let memory = self.memory();
        pairing::room_max(&prefill, &decode, &self.tokenizer_digest, &memory.outlook(self.mode))
    }

    /// Chooses the pair that suits `wish` best and the policy between its nodes, and counts the request on both.
    pub fn place(&self, wish: &Wish) -> Result<Placement, ServiceError> {
        let mut memory = self.memory();
        let nodes = self.nodes();
        let (prefill, decode) = views(&nodes);
        let outlook = memory.outlook(self.mode);
        let Choice { prefill: p, decode: d, is_avoided } =
            pairing::choose(&prefill, &decode, &self.tokenizer_digest, wish, &outlook, memory.turn)?;
        let decision = pairing::decision(&prefill[p], &decode[d], wish, &outlook);
        memory.turn = memory.turn.wrapping_add(1);
        if wish.bulk.ships {
            memory.faults.tried(&prefill[p].address, &decode[d].address, Instant::now());
        }
        let facts = Facts::of(&prefill[p], &decode[d]);
        Ok(Placement::new(nodes.prefill[p].clone(), nodes.decode[d].clone(), facts, decision, is_avoided))
    }

    /// Chooses a prefill node for a request that ships nothing, and counts the request on it; waits until `until` if there
    /// is none.
    pub async fn single_by(&self, wish: &SingleWish, until: Instant) -> Result<Single, ServiceError> {
        waiting(until, || self.single(wish)).await
    }

    fn single(&self, wish: &SingleWish) -> Result<Single, ServiceError> {
        let mut memory = self.memory();
        let nodes = self.nodes();
        let (prefill, _) = views(&nodes);
        let (index, is_avoided) = single::choose(&prefill, &self.tokenizer_digest, wish, memory.turn)?;
        memory.turn = memory.turn.wrapping_add(1);
        Ok(Single::new(nodes.prefill[index].clone(), is_avoided))
    }

    /// The pair that served the longest known one of `prefixes` last.
    pub fn nearest(&self, prefixes: &[Prefix]) -> Option<Near> {
        self.memory().affinity.nearest(prefixes)
    }

    /// Records that `pair` now holds a prompt with these prefixes.
    pub fn holds(&self, prefixes: &[Prefix], pair: &Pair) {
        let near = Near { prefill: pair.prefill.clone(), decode: pair.decode.clone() };
        self.memory().affinity.record(prefixes, near);
    }

    /// Records prefill's timings from a prompt's first token.
    pub fn prefilled(&self, pair: &Pair, first: &FirstToken) {
        let mut memory = self.memory();
        if self.nodes().has(&pair.prefill) {
            memory.paces.prefilled(&pair.prefill, first);
        }
    }

    /// Records a failed attempt: a link at fault becomes the last choice of all requests for some time.
    pub fn failed(&self, failure: &Failure) {
        let (mut memory, nodes) = (self.memory(), self.nodes());
        if failure.blame == Blame::Link && nodes.has(&failure.prefill) && nodes.has(&failure.decode) {
            memory.faults.failed(&failure.prefill, &failure.decode, Instant::now());
        }
    }

    /// Records that a shipment over the link of `pair` arrived, which decode's first token proves.
    pub fn reached(&self, pair: &Pair) {
        self.memory().faults.mended(&pair.prefill, &pair.decode);
    }

    /// Records the report of a complete shipment over the link of `pair`.
    pub fn shipped(&self, pair: &Pair, report: &TransferReport) {
        let (mut memory, nodes) = (self.memory(), self.nodes());
        memory.faults.mended(&pair.prefill, &pair.decode);
        if nodes.has(&pair.prefill) && nodes.has(&pair.decode) {
            memory.links.observe(&pair.prefill, &pair.decode, report, Instant::now());
        }
    }

    /// Records that an answer finished on `pair`, whose nodes it `held` for that time.
    pub fn served(&self, pair: &Pair, held: Duration) {
        let (mut memory, nodes) = (self.memory(), self.nodes());
        for address in [&pair.prefill, &pair.decode].into_iter().filter(|address| nodes.has(address)) {
            memory.paces.served(address, held.as_secs_f64());
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

/// Locks the memory even if another holder panicked: means and lists stay usable.
fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats `look` until it succeeds, `until` has passed, or its error is one that waiting cannot resolve.
async fn waiting<T>(until: Instant, look: impl Fn() -> Result<T, ServiceError>) -> Result<T, ServiceError> {
    loop {
        match look() {
            Err(none) if none.is_retryable() && Instant::now() < until => sleep(LOOK_AGAIN).await,
            found => return found,
        }
    }
}

fn views(nodes: &Snapshot) -> (Vec<NodeView>, Vec<NodeView>) {
    let views = |nodes: &[Arc<Node>]| nodes.iter().map(|node| node.view()).collect();
    (views(&nodes.prefill), views(&nodes.decode))
}
