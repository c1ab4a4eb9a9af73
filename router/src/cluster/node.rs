//! One node as the router sees it.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use secateur_channel::{Channels, KeepAlive, Link, OpenError};
use secateur_proto::v1::{NodeDescription, Role};
use tokio::sync::{Notify, watch};

use super::{pairing::NodeView, roster::Sight};
use crate::metrics::NodeLabels;

/// Most bytes of one message from a node; tokens and reports are small.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A node that vanished without a word is noticed even while nothing is asked of it.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_millis(900), timeout: Duration::from_secs(1), while_idle: true };

/// The word for a role in JSON and metrics.
pub fn role_name(role: Role) -> &'static str {
    if role == Role::Decode { "decode" } else { "prefill" }
}

/// What the last probe found.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeState {
    /// Not usable; the sentence says why.
    Down(String),
    /// Answering.
    Up(Box<NodeDescription>),
}

/// A node's address, channel and state.
pub struct Node {
    /// `host:port` as configured, or where a configured name leads.
    pub address: String,
    /// The host name that leads to it, which its certificate bears; none: the address itself was configured.
    pub name: Option<String>,
    /// The role it was configured for.
    pub role: Role,
    /// Cheap to clone; reconnects by itself.
    pub channel: Link,
    /// Written by the probe task alone; read by pairing, metrics and the cluster page.
    state: watch::Sender<NodeState>,
    /// Requests of this router that hold the node.
    in_flight: AtomicU32,
    /// No name leads here any more: no new requests. Written by discovery alone.
    is_leaving: AtomicBool,
    /// Wakes the probe task before its time, when a request has just failed on this node.
    suspicion: Notify,
}

impl Node {
    /// A node that has not been asked yet.
    pub fn new(address: &str, name: Option<&str>, role: Role, channels: &Channels) -> Result<Self, OpenError> {
        Ok(Self {
            address: address.to_owned(),
            name: name.map(str::to_owned),
            role,
            channel: channels.open_as(address, name, KEEP_ALIVE)?,
            state: watch::Sender::new(NodeState::Down("not asked yet".to_owned())),
            in_flight: AtomicU32::new(0),
            is_leaving: AtomicBool::new(false),
            suspicion: Notify::new(),
        })
    }

    /// The present state.
    pub fn state(&self) -> NodeState {
        self.state.borrow().clone()
    }

    /// Publishes what a probe found; true if the node came or went, or is down for another reason.
    pub fn publish(&self, state: NodeState) -> bool {
        let is_news = match (&*self.state.borrow(), &state) {
            (NodeState::Up(_), NodeState::Up(_)) => false,
            (NodeState::Down(before), NodeState::Down(now)) => before != now,
            _ => true,
        };
        self.state.send_replace(state);
        is_news
    }

    /// Plain data for pairing.
    pub fn view(&self) -> NodeView {
        NodeView {
            address: self.address.clone(),
            role: self.role,
            state: self.state(),
            in_flight: self.in_flight(),
            is_leaving: self.is_leaving.load(Ordering::Relaxed),
        }
    }

    /// What discovery goes by.
    pub fn sight(&self) -> Sight {
        let in_flight = self.in_flight();
        match &*self.state.borrow() {
            NodeState::Up(description) => Sight { is_up: true, instance: description.instance_id.clone(), in_flight },
            NodeState::Down(_) => Sight { is_up: false, instance: String::new(), in_flight },
        }
    }

    /// Whether new requests are kept away.
    pub fn set_leaving(&self, is_leaving: bool) {
        self.is_leaving.store(is_leaving, Ordering::Relaxed);
    }

    /// The role's word.
    pub fn role_name(&self) -> &'static str {
        role_name(self.role)
    }

    /// The node in metrics.
    pub fn labels(&self) -> NodeLabels {
        NodeLabels { role: self.role_name().to_owned(), node: self.address.clone() }
    }

    /// Requests of this router that hold the node.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request on the node.
    pub fn take(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// The inverse of [`Node::take`].
    pub fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request failed here: look again now.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Resolves when somebody suspects the node.
    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }
}
