//! Chooses the one prefill node of a request that ships nothing. Plain data in, decision out; the node counts the request
//! for as long as it is held.
//!
//! Only nodes of the model and plan that other requests are served with are chosen. Among those with room for the prompt
//! it is the one that has not failed the request, whose answers are not overdue, and that has the fewest requests.

use std::sync::Arc;

use secateur_proto::{ErrorCode, ServiceError, v1::NodeDescription};

use super::{node::Node, view::NodeView};

/// What a request needs of its node.
#[derive(Clone, Debug, Default)]
pub struct SingleWish {
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Id of the plan in force; empty if there is none.
    pub plan_id: String,
    /// Positions of the prompt. A smaller node is taken only if all nodes are smaller.
    pub positions: u32,
    /// Addresses of nodes that failed the request: chosen only if there is no other.
    pub failed: Vec<String>,
}

/// A request's hold on one node; dropping it releases the node.
pub struct Single {
    /// The node.
    pub node: Arc<Node>,
    /// Whether the node has failed the request before, and was chosen because there was no other.
    pub is_avoided: bool,
}

impl Single {
    /// Counts a request on the node.
    pub fn new(node: Arc<Node>, is_avoided: bool) -> Self {
        node.take();
        Self { node, is_avoided }
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        self.node.release();
    }
}

/// The chosen node: its index, and whether it has failed the request before. `turn` rotates among equally good ones.
pub fn choose(
    nodes: &[NodeView],
    tokenizer_digest: &str,
    wish: &SingleWish,
    turn: usize,
) -> Result<(usize, bool), ServiceError> {
    let holds =
        |says: &NodeDescription| says.model_fingerprint == wish.model_fingerprint && says.plan_id == wish.plan_id;
    let usable = nodes.iter().enumerate().filter_map(|(index, node)| {
        let says = node.usable(tokenizer_digest).ok().filter(|says| holds(says))?;
        let is_failed = wish.failed.iter().any(|address| **address == *node.address);
        Some((index, says.max_positions, (is_failed, node.is_late, node.load(says))))
    });
    let usable: Vec<_> = usable.collect();
    let largest = usable.iter().map(|(_, room, _)| *room).max().unwrap_or(0);
    let fitting: Vec<_> = usable.into_iter().filter(|(_, room, _)| *room >= wish.positions.min(largest)).collect();
    let least = fitting.iter().map(|(_, _, rank)| *rank).min();
    let best: Vec<_> = fitting.into_iter().filter(|(_, _, rank)| Some(*rank) == least).collect();
    match best.len() {
        0 => Err(none()),
        count => {
            let (index, _, (is_failed, ..)) = best[turn % count];
            Ok((index, is_failed))
        }
    }
}

fn none() -> ServiceError {
    let message = "no prefill node is ready that holds the model and plan that are needed; try again soon";
    ServiceError::new(ErrorCode::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use secateur_proto::{
        PROTOCOL_VERSION,
        v1::{Load, Role},
    };

    use super::*;
    use crate::cluster::NodeState;

    fn node(address: &str, waiting: u32, room: u32) -> NodeView {
        let description = NodeDescription {
            role: Role::Prefill.into(),
            protocol_version: PROTOCOL_VERSION,
            model_fingerprint: "m".into(),
            max_positions: room,
            load: Some(Load { waiting, ..Default::default() }),
            ..Default::default()
        };
        NodeView {
            address: address.into(),
            role: Role::Prefill,
            state: NodeState::Up(Arc::new(description)),
            in_flight: 0,
            is_leaving: false,
            is_late: false,
        }
    }

    fn wish(positions: u32, failed: &[&str]) -> SingleWish {
        let failed = failed.iter().map(|address| (*address).to_owned()).collect();
        SingleWish { model_fingerprint: "m".into(), positions, failed, ..Default::default() }
    }

    #[test]
    fn the_least_loaded_node_that_has_not_failed_is_chosen() {
        let nodes = [node("a", 3, 100), node("b", 1, 100), node("c", 1, 100)];
        let chosen = |failed: &[&str], turn| choose(&nodes, "", &wish(50, failed), turn).unwrap();
        assert_eq!((chosen(&[], 0), chosen(&[], 1), chosen(&[], 2)), ((1, false), (2, false), (1, false)));
        assert_eq!((chosen(&["b", "c"], 0), chosen(&["a", "b", "c"], 0)), ((0, false), (1, true)));
        let late = NodeView { is_late: true, ..node("b", 0, 100) };
        assert_eq!(choose(&[node("a", 3, 100), late], "", &wish(1, &[]), 0).unwrap(), (0, false));
    }

    #[test]
    fn nodes_without_room_or_of_another_model_are_passed_over() {
        let small = node("small", 0, 10);
        assert_eq!(choose(&[small.clone(), node("a", 9, 100)], "", &wish(50, &[]), 0).unwrap(), (1, false));
        assert_eq!(
            choose(std::slice::from_ref(&small), "", &wish(50, &[]), 0).unwrap(),
            (0, false),
            "it says itself what fits"
        );
        let other = SingleWish { model_fingerprint: "other".into(), ..wish(1, &[]) };
        assert_eq!(choose(&[small], "", &other, 0).unwrap_err().code, ErrorCode::Unavailable);
        assert!(choose(&[], "", &wish(1, &[]), 0).unwrap_err().is_retryable());
    }
}
