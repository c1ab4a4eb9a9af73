//! The two nodes of a request, which count it for as long as it holds them.

use std::{sync::Arc, time::Duration};

use secateur_proto::v1::VisualPolicy;
use tokio::time::Instant;

use super::{
    node::Node,
    pairing::room,
    policy::Decision,
    view::{NodeState, NodeView},
    wish::{Blame, Failure, Pair},
};
use crate::request::Recommended;

/// Facts about a pair of nodes that requests need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Id of the plan in force; empty if there is none.
    pub plan_id: String,
    /// Longest context in positions: the smaller of the two nodes' limits.
    pub max_positions: u32,
    /// Visual tokens of one picture, at most; 0 if the model takes no pictures.
    pub visual_tokens_per_image: u32,
    /// Whether smaller pictures become fewer visual tokens.
    pub visual_tokens_vary: bool,
    /// End tokens of both nodes.
    pub stop_token_ids: Vec<u32>,
    /// Visual policy that `auto` stands for in a request with one picture.
    pub recommended_visual: Option<VisualPolicy>,
    /// Visual policy that `auto` stands for in a request with several pictures.
    pub recommended_visual_several: Option<VisualPolicy>,
    /// How the decode node stores KV (`secateur_proto::v1::DType`).
    pub decode_dtype: i32,
    /// The prefill node's name.
    pub prefill_node: String,
    /// The decode node's name.
    pub decode_node: String,
}

impl Facts {
    /// The visual policies that `auto` stands for.
    pub fn recommended(&self) -> Recommended<'_> {
        Recommended { one: self.recommended_visual.as_ref(), several: self.recommended_visual_several.as_ref() }
    }

    /// Facts from the snapshots of two nodes; the default if a node is down, which pairing rules out.
    pub fn of(prefill: &NodeView, decode: &NodeView) -> Self {
        let (NodeState::Up(prefill), NodeState::Up(decode)) = (&prefill.state, &decode.state) else {
            return Self::default();
        };
        let mut stop_token_ids = [prefill.stop_token_ids.as_slice(), decode.stop_token_ids.as_slice()].concat();
        stop_token_ids.sort_unstable();
        stop_token_ids.dedup();
        Self {
            model_fingerprint: prefill.model_fingerprint.clone(),
            plan_id: prefill.plan_id.clone(),
            max_positions: room(prefill, decode),
            visual_tokens_per_image: prefill.visual_tokens_per_image,
            visual_tokens_vary: prefill.visual_tokens_vary,
            stop_token_ids,
            recommended_visual: prefill.recommended_visual,
            recommended_visual_several: prefill.recommended_visual_several,
            decode_dtype: decode.kv_dtype,
            prefill_node: prefill.node_id.clone(),
            decode_node: decode.node_id.clone(),
        }
    }
}

/// A request's hold on both nodes; dropping it releases them.
pub struct Placement {
    /// The prefill node: it sees, prunes, prefills and ships.
    pub prefill: Arc<Node>,
    /// The decode node: it receives and generates.
    pub decode: Arc<Node>,
    /// Facts about the pair.
    pub facts: Facts,
    /// The transfer policy over the pair's link, and its reason.
    pub decision: Decision,
    /// Whether the pair repeats a failed attempt of this request, chosen because there was no other.
    pub is_avoided: bool,
    since: Instant,
}

impl Placement {
    /// Counts a request on both nodes.
    pub fn new(prefill: Arc<Node>, decode: Arc<Node>, facts: Facts, decision: Decision, is_avoided: bool) -> Self {
        prefill.take();
        decode.take();
        Self { prefill, decode, facts, decision, is_avoided, since: Instant::now() }
    }

    /// How long the nodes have been held.
    pub fn held(&self) -> Duration {
        self.since.elapsed()
    }

    /// Records that an attempt failed on these nodes; the party at fault is probed again at once.
    pub fn failure(&self, blame: Blame) -> Failure {
        if matches!(blame, Blame::Prefill | Blame::Link) {
            self.prefill.suspect();
        }
        if matches!(blame, Blame::Decode | Blame::Link) {
            self.decode.suspect();
        }
        Failure { prefill: self.prefill.address.to_string(), decode: self.decode.address.to_string(), blame }
    }

    /// The pair's addresses, model and plan.
    pub fn pair(&self) -> Pair {
        Pair {
            prefill: self.prefill.address.to_string(),
            decode: self.decode.address.to_string(),
            model_fingerprint: self.facts.model_fingerprint.clone(),
            plan_id: self.facts.plan_id.clone(),
        }
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.prefill.release();
        self.decode.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_channel::Channels;
    use secateur_proto::v1::Role;

    #[tokio::test]
    async fn dropping_a_placement_gives_both_nodes_back() {
        let prefill = Arc::new(Node::new("127.0.0.1:1", None, Role::Prefill, &Channels::default()).unwrap());
        let decode = Arc::new(Node::new("127.0.0.1:2", None, Role::Decode, &Channels::default()).unwrap());
        let placement = Placement::new(prefill.clone(), decode.clone(), Facts::default(), Decision::default(), false);
        assert_eq!((prefill.in_flight(), decode.in_flight()), (1, 1));
        drop(placement);
        assert_eq!((prefill.in_flight(), decode.in_flight()), (0, 0));
    }
}
