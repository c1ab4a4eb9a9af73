//! A frozen view of one node, from which pairing decides.

use std::sync::Arc;

use secateur_proto::{
    PROTOCOL_VERSION,
    v1::{NodeDescription, Role},
};

/// The result of the last probe. It is only replaced as a whole, so that a clone shares it.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeState {
    /// The node is not usable; the text says why.
    Down(Arc<str>),
    /// The node answers; this is its description of itself.
    Up(Arc<NodeDescription>),
}

/// A snapshot of one node. A clone shares the description.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// `host:port`.
    pub address: Arc<str>,
    /// The role that the node was configured for.
    pub role: Role,
    /// The result of the last probe.
    pub state: NodeState,
    /// Requests of this router that hold the node.
    pub in_flight: u32,
    /// Whether no configured name resolves to the node any more.
    pub is_leaving: bool,
    /// Whether an answer to a probe is overdue.
    pub is_late: bool,
}

impl NodeView {
    /// The node's description, if a router with this tokenizer can use the node; otherwise the reason why not.
    pub fn usable(&self, tokenizer_digest: &str) -> Result<&NodeDescription, String> {
        let description = match &self.state {
            NodeState::Down(why) => return Err(why.to_string()),
            NodeState::Up(description) => description,
        };
        if description.role() != self.role {
            return Err("is configured for another role".to_owned());
        }
        if description.protocol_version != PROTOCOL_VERSION {
            return Err(format!("speaks protocol {}, the router {PROTOCOL_VERSION}", description.protocol_version));
        }
        if self.is_leaving {
            return Err("is no longer behind the name that led to it".to_owned());
        }
        if description.draining {
            return Err("is draining".to_owned());
        }
        let digest = &description.tokenizer_digest;
        if !digest.is_empty() && !tokenizer_digest.is_empty() && digest != tokenizer_digest {
            return Err("has another tokenizer than the router".to_owned());
        }
        Ok(description)
    }

    /// Requests on the node: the larger of the node's own figure, which is up to a probe interval old, and this
    /// router's count, which lacks the requests of other routers.
    pub(super) fn load(&self, description: &NodeDescription) -> u32 {
        let reported = description.load.as_ref().map_or(0, |load| load.running.saturating_add(load.waiting));
        self.in_flight.max(reported)
    }
}
