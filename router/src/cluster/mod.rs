//! The nodes: which there are, how they are, and which two serve the next request.
//!
//! One task for each node asks it to describe itself and publishes the answer ([`probe`]); [`pairing`] decides from these
//! snapshots and from what [`links`], [`pace`] and [`affinity`] remember of earlier requests, as plain data; [`policy`]
//! decides what is shipped; [`Cluster`] ties all together and counts what is in flight.

mod affinity;
mod forecast;
pub mod links;
mod node;
pub mod pace;
pub mod pairing;
mod placement;
pub mod policy;
mod probe;
mod wish;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secateur_channel::{Channels, OpenError};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    ServiceError,
    v1::{FirstToken, Role, TransferReport},
};
use tokio::time::Instant;

pub use affinity::{Near, Prefix, prefixes};
pub use node::{Node, NodeState};
pub use placement::{Facts, Placement};
pub use policy::Decision;
pub use wish::{Bulk, Pair, Wish};

use crate::config::PlacementMode;
use affinity::Affinity;
use forecast::Outlook;
use links::Links;
use pace::Paces;
use pairing::{Choice, NodeView};

/// All nodes that the router was told of.
pub struct Cluster {
    prefill: Vec<Arc<Node>>,
    decode: Vec<Arc<Node>>,
    tokenizer_digest: String,
    mode: PlacementMode,
    /// Held while a pair is chosen and counted, so that requests that come together do not choose the same idle pair.
    /// Never held across an await.
    memory: Mutex<Memory>,
}

/// What earlier requests taught.
#[derive(Debug, Default)]
struct Memory {
    /// Spreads requests over equally good pairs.
    turn: usize,
    links: Links,
    paces: Paces,
    affinity: Affinity,
}

impl Memory {
    fn outlook(&self, mode: PlacementMode) -> Outlook<'_> {
        Outlook { mode, links: &self.links, paces: &self.paces, now: Instant::now() }
    }
}

impl Cluster {
    /// Starts one probe task for each address, which `channels` connect to; they end with `shutdown`.
    pub fn start(
        prefill: &[String],
        decode: &[String],
        channels: &Channels,
        tokenizer_digest: String,
        mode: PlacementMode,
        shutdown: &CancellationToken,
    ) -> Result<Self, OpenError> {
        let nodes = |addresses: &[String], role| -> Result<Vec<Arc<Node>>, OpenError> {
            addresses.iter().map(|address| Node::new(address, role, channels).map(Arc::new)).collect()
        };
        let (prefill, decode) = (nodes(prefill, Role::Prefill)?, nodes(decode, Role::Decode)?);
        for node in prefill.iter().chain(&decode) {
            tokio::spawn(probe::run(node.clone(), shutdown.clone()));
        }
        Ok(Self { prefill, decode, tokenizer_digest, mode, memory: Mutex::default() })
    }

    /// Every node, prefill first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.prefill.iter().chain(&self.decode)
    }

    /// How pairs are placed.
    pub fn mode(&self) -> PlacementMode {
        self.mode
    }

    /// What was measured of the links and of the nodes, as it is now.
    pub fn measured(&self) -> (Links, Paces) {
        let memory = self.memory();
        (memory.links.clone(), memory.paces.clone())
    }

    /// What the pair with the most room agrees on: what does not fit there fits nowhere. An error says why there is none.
    pub fn facts(&self) -> Result<Facts, ServiceError> {
        let (prefill, decode) = self.views();
        let largest = Wish { positions: u32::MAX, ..Wish::default() };
        let memory = self.memory();
        let outlook = memory.outlook(self.mode);
        let choice = pairing::choose(&prefill, &decode, &self.tokenizer_digest, &largest, &outlook, 0)?;
        Ok(Facts::of(&prefill[choice.prefill], &decode[choice.decode]))
    }

    /// Chooses a pair that suits `wish` best, and what is shipped between them, and counts the request on both.
    pub fn place(&self, wish: &Wish) -> Result<Placement, ServiceError> {
        let mut memory = self.memory();
        let (prefill, decode) = self.views();
        let outlook = memory.outlook(self.mode);
        let Choice { prefill: p, decode: d, is_avoided } =
            pairing::choose(&prefill, &decode, &self.tokenizer_digest, wish, &outlook, memory.turn)?;
        let decision = pairing::decision(&prefill[p], &decode[d], wish, &outlook);
        memory.turn = memory.turn.wrapping_add(1);
        let facts = Facts::of(&prefill[p], &decode[d]);
        Ok(Placement::new(self.prefill[p].clone(), self.decode[d].clone(), facts, decision, is_avoided))
    }

    /// The pair that served the longest known one of a prompt's beginnings last.
    pub fn nearest(&self, prefixes: &[Prefix]) -> Option<Near> {
        self.memory().affinity.nearest(prefixes)
    }

    /// A pair holds a prompt with these beginnings now.
    pub fn holds(&self, prefixes: &[Prefix], pair: &Pair) {
        let near = Near { prefill: pair.prefill.clone(), decode: pair.decode.clone() };
        self.memory().affinity.record(prefixes, near);
    }

    /// A prompt's first token came from `pair`.
    pub fn prefilled(&self, pair: &Pair, first: &FirstToken) {
        self.memory().paces.prefilled(&pair.prefill, first);
    }

    /// A shipment between `pair` is complete.
    pub fn shipped(&self, pair: &Pair, report: &TransferReport) {
        self.memory().links.observe(&pair.prefill, &pair.decode, report, Instant::now());
    }

    /// An answer came to its end on `pair`, which it held for so long.
    pub fn served(&self, pair: &Pair, held: Duration) {
        let mut memory = self.memory();
        for address in [&pair.prefill, &pair.decode] {
            memory.paces.served(address, held.as_secs_f64());
        }
    }

    /// Means and lists stay usable whatever happened to another holder.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> (Vec<NodeView>, Vec<NodeView>) {
        let views = |nodes: &[Arc<Node>]| nodes.iter().map(|node| node.view()).collect();
        (views(&self.prefill), views(&self.decode))
    }
}
