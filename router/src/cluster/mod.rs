//! The nodes: which there are, how they are, and which two serve the next request.
//!
//! One task for each node asks it to describe itself and publishes the answer ([`probe`]); [`pairing`] decides from these
//! snapshots, as plain data; [`Cluster`] ties both together and counts what is in flight.

mod node;
pub mod pairing;
mod placement;
mod probe;

use std::sync::{Arc, Mutex};

use secateur_channel::{Channels, OpenError};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{ServiceError, v1::Role};

pub use node::{Node, NodeState};
pub use pairing::{Pair, Wish};
pub use placement::{Facts, Placement};

use pairing::{Choice, NodeView};

/// All nodes that the router was told of.
pub struct Cluster {
    prefill: Vec<Arc<Node>>,
    decode: Vec<Arc<Node>>,
    tokenizer_digest: String,
    /// Held while a pair is chosen and counted, so that requests that come together do not choose the same idle pair.
    /// The number spreads requests over equally loaded pairs. Never held across an await.
    turn: Mutex<usize>,
}

impl Cluster {
    /// Starts one probe task for each address, which `channels` connect to; they end with `shutdown`.
    pub fn start(
        prefill: &[String],
        decode: &[String],
        channels: &Channels,
        tokenizer_digest: String,
        shutdown: &CancellationToken,
    ) -> Result<Self, OpenError> {
        let nodes = |addresses: &[String], role| -> Result<Vec<Arc<Node>>, OpenError> {
            addresses.iter().map(|address| Node::new(address, role, channels).map(Arc::new)).collect()
        };
        let (prefill, decode) = (nodes(prefill, Role::Prefill)?, nodes(decode, Role::Decode)?);
        for node in prefill.iter().chain(&decode) {
            tokio::spawn(probe::run(node.clone(), shutdown.clone()));
        }
        Ok(Self { prefill, decode, tokenizer_digest, turn: Mutex::new(0) })
    }

    /// Every node, prefill first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.prefill.iter().chain(&self.decode)
    }

    /// What the pair with the most room agrees on: what does not fit there fits nowhere. An error says why there is none.
    pub fn facts(&self) -> Result<Facts, ServiceError> {
        let (prefill, decode) = self.views();
        let largest = Wish { positions: u32::MAX, ..Wish::default() };
        let choice = pairing::choose(&prefill, &decode, &self.tokenizer_digest, &largest, 0)?;
        Ok(Facts::of(&prefill[choice.prefill], &decode[choice.decode]))
    }

    /// Chooses a pair that suits `wish` best and counts the request on both.
    pub fn place(&self, wish: &Wish) -> Result<Placement, ServiceError> {
        // Poisoned only if choosing panicked; the number is still a number.
        let mut turn = self.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (prefill, decode) = self.views();
        let Choice { prefill: p, decode: d, is_avoided } =
            pairing::choose(&prefill, &decode, &self.tokenizer_digest, wish, *turn)?;
        *turn = turn.wrapping_add(1);
        let facts = Facts::of(&prefill[p], &decode[d]);
        Ok(Placement::new(self.prefill[p].clone(), self.decode[d].clone(), facts, is_avoided))
    }

    fn views(&self) -> (Vec<NodeView>, Vec<NodeView>) {
        let views = |nodes: &[Arc<Node>]| nodes.iter().map(|node| node.view()).collect();
        (views(&self.prefill), views(&self.decode))
    }
}
