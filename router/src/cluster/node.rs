//! One node as the router sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use secateur_channel::{Channels, KeepAlive, Link, OpenError};
use secateur_proto::v1::Role;
use tokio::sync::{Notify, watch};

use super::{
    liveness::Life,
    roster::Sight,
    view::{NodeState, NodeView},
};
use crate::metrics::NodeLabels;

/// Most bytes of one message from a node; tokens and reports are small.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Keep-alive that closes a dead connection so that a new one is made. `liveness` decides earlier whether the node is
/// lost: on a busy machine a late ping does not prove that the connection is dead.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_secs(1), timeout: Duration::from_secs(5), while_idle: true };

/// A role's name in JSON and metrics.
pub fn role_name(role: Role) -> &'static str {
    if role == Role::Decode { "decode" } else { "prefill" }
}

/// A node's address, channel and state.
pub struct Node {
    /// `host:port` as configured, or an address that a configured name resolves to.
    pub address: Arc<str>,
    /// The host name that resolves to this address and that the node's certificate must bear; `None` if the address
    /// itself was configured.
    pub name: Option<String>,
    /// The role that the node was configured for.
    pub role: Role,
    /// The connection to the node; cheap to clone, reconnects by itself.
    pub channel: Link,
    /// Whether connections to the node are encrypted.
    pub has_tls: bool,
    /// The result of the last probe. Written by the probe task alone; read by pairing, metrics and the cluster page.
    state: watch::Sender<NodeState>,
    /// Whether the node is declared lost, so that its streams are abandoned. Written by the probe task alone; awaited
    /// by the requests that run on the node.
    is_lost: watch::Sender<bool>,
    /// Whether an answer to a probe is overdue. Written by the probe task alone.
    is_late: AtomicBool,
    /// Whether a request received something from the node since the probe task last looked.
    was_heard: AtomicBool,
    /// Requests of this router that hold the node.
    in_flight: AtomicU32,
    /// Whether no name resolves to this node any more, so that it gets no new requests. Written by discovery alone.
    is_leaving: AtomicBool,
    /// Wakes the probe task early, when a request has just failed on this node.
    suspicion: Notify,
}

impl Node {
    /// A node that has not been probed yet.
    pub fn new(address: &str, name: Option<&str>, role: Role, channels: &Channels) -> Result<Self, OpenError> {
        Ok(Self {
            address: address.into(),
            name: name.map(str::to_owned),
            role,
            channel: channels.open_as(address, name, KEEP_ALIVE)?,
            has_tls: channels.has_tls(),
            state: watch::Sender::new(NodeState::Down("not asked yet".into())),
            is_lost: watch::Sender::new(false),
            is_late: AtomicBool::new(false),
            was_heard: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            is_leaving: AtomicBool::new(false),
            suspicion: Notify::new(),
        })
    }

    /// The present state.
    pub fn state(&self) -> NodeState {
        self.state.borrow().clone()
    }

    /// Publishes a probe's result; returns whether the node came up, went down, or is down for another reason.
    pub fn publish(&self, state: NodeState) -> bool {
        let is_news = match (&*self.state.borrow(), &state) {
            (NodeState::Up(_), NodeState::Up(_)) => false,
            (NodeState::Down(before), NodeState::Down(now)) => before != now,
            _ => true,
        };
        self.state.send_replace(state);
        is_news
    }

    /// Publishes the current judgement of the node's silence.
    pub fn set_life(&self, life: Life) {
        self.is_late.store(life != Life::Well, Ordering::Relaxed);
        let is_lost = life == Life::Lost;
        self.is_lost.send_if_modified(|before| std::mem::replace(before, is_lost) != is_lost);
    }

    /// Whether an answer to a probe is overdue.
    pub fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Resolves when the node is declared lost.
    pub async fn lost(&self) {
        // This node owns the sender, so the channel cannot close while it is awaited.
        let _ = self.is_lost.subscribe().wait_for(|is_lost| *is_lost).await;
    }

    /// Records that a request received something from the node, which is a sign of life.
    pub fn heard(&self) {
        self.was_heard.store(true, Ordering::Relaxed);
    }

    /// Returns whether a request received something since the last call.
    pub fn take_heard(&self) -> bool {
        self.was_heard.swap(false, Ordering::Relaxed)
    }

    /// A snapshot for pairing; it shares the node's description.
    pub fn view(&self) -> NodeView {
        NodeView {
            address: self.address.clone(),
            role: self.role,
            state: self.state(),
            in_flight: self.in_flight(),
            is_leaving: self.is_leaving.load(Ordering::Relaxed),
            is_late: self.is_late(),
        }
    }

    /// The node's state as discovery needs it.
    pub fn sight(&self) -> Sight {
        let in_flight = self.in_flight();
        match &*self.state.borrow() {
            NodeState::Up(description) => Sight { is_up: true, instance: description.instance_id.clone(), in_flight },
            NodeState::Down(_) => Sight { is_up: false, instance: String::new(), in_flight },
        }
    }

    /// Sets whether new requests avoid the node.
    pub fn set_leaving(&self, is_leaving: bool) {
        self.is_leaving.store(is_leaving, Ordering::Relaxed);
    }

    /// The role's name in JSON and metrics.
    pub fn role_name(&self) -> &'static str {
        role_name(self.role)
    }

    /// The node's labels in metrics.
    pub fn labels(&self) -> NodeLabels {
        NodeLabels { role: self.role_name().to_owned(), node: self.address.to_string() }
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

    /// Asks the probe task to probe now, because a request failed on this node.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Resolves after a call of [`Node::suspect`].
    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use secateur_proto::v1::NodeDescription;

    use super::*;

    fn node() -> Node {
        Node::new("127.0.0.1:1", None, Role::Decode, &Channels::default()).unwrap()
    }

    #[tokio::test]
    async fn views_share_what_the_node_said_and_a_probe_replaces_it() {
        let node = node();
        let said = |positions| Arc::new(NodeDescription { max_positions: positions, ..Default::default() });
        node.publish(NodeState::Up(said(1)));
        let (first, second) = (node.view(), node.view());
        let (NodeState::Up(one), NodeState::Up(two)) = (&first.state, &second.state) else { panic!("it is up") };
        assert!(Arc::ptr_eq(one, two) && Arc::ptr_eq(&first.address, &second.address), "nothing was copied");
        node.publish(NodeState::Up(said(2)));
        let NodeState::Up(now) = node.view().state else { panic!("it is up") };
        assert_eq!((one.max_positions, now.max_positions), (1, 2), "who holds the old one keeps it");
    }

    #[tokio::test]
    async fn whoever_waits_for_a_node_hears_that_it_is_lost() {
        let node = Arc::new(node());
        let waiting = tokio::spawn({
            let node = node.clone();
            async move { node.lost().await }
        });
        node.set_life(Life::Late);
        assert!(node.view().is_late && !waiting.is_finished());
        node.set_life(Life::Lost);
        waiting.await.unwrap();
        node.set_life(Life::Well);
        assert!(!node.view().is_late);
    }
}
