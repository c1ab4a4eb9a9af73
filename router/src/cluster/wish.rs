//! Requirements of a request and its earlier attempts on its next pair. Plain data.

use secateur_proto::v1::NodeDescription;
use secateur_transfer::TransferPolicy;

use super::{affinity::Near, view::NodeView};
use crate::request::VisualChoice;

/// Weight of a failed link among the reasons against a pair; a failed node weighs one.
pub const LINK_WEIGHT: u32 = 2;

/// Everything that pairing needs to know about a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Positions that the request may fill. A smaller pair is taken only if all pairs are smaller; then the nodes of
    /// the largest pair decide whether the request fits.
    pub positions: u32,
    /// Failed attempts of the request: a party that failed one is chosen only if there is no other.
    pub failures: Vec<Failure>,
    /// The pair on which the answer was begun.
    pub again: Option<Pair>,
    /// The pair that served a prefix of the prompt before; ignored if `again` is set.
    pub near: Option<Near>,
    /// The properties that decide how much the request ships.
    pub bulk: Bulk,
}

/// The party that a failed attempt counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blame {
    /// No party is at fault, for example where the deadline passed.
    #[default]
    Nobody,
    /// The prefill node is at fault.
    Prefill,
    /// The decode node is at fault.
    Decode,
    /// The link is at fault: the node that reported the failure cannot tell the other node from the link to it.
    Link,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Address of the attempt's prefill node.
    pub prefill: String,
    /// Address of the attempt's decode node.
    pub decode: String,
    /// The party at fault.
    pub blame: Blame,
}

impl Failure {
    /// Number of reasons that this failure gives against a pair. A failed link weighs as much as two nodes, since it is
    /// the most likely to fail again.
    pub fn against(&self, prefill: &str, decode: &str) -> u32 {
        let (is_prefill, is_decode) = (self.prefill == prefill, self.decode == decode);
        match self.blame {
            Blame::Nobody => 0,
            Blame::Prefill => is_prefill.into(),
            Blame::Decode => is_decode.into(),
            Blame::Link => {
                u32::from(is_prefill) + u32::from(is_decode) + LINK_WEIGHT * u32::from(is_prefill && is_decode)
            }
        }
    }

    /// Whether the pair includes the party that failed.
    pub fn is_of(&self, prefill: &str, decode: &str) -> bool {
        match self.blame {
            Blame::Nobody => false,
            Blame::Prefill => self.prefill == prefill,
            Blame::Decode => self.decode == decode,
            Blame::Link => self.prefill == prefill && self.decode == decode,
        }
    }
}

/// The properties of a request that decide how much it ships.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bulk {
    /// Tokens besides pictures, including the answer's tokens so far.
    pub text_tokens: u32,
    /// Number of pictures.
    pub pictures: usize,
    /// Visual pruning that the client asked for.
    pub visual: VisualChoice,
    /// Transfer policy that the request names; `None` means `auto`.
    pub policy: Option<TransferPolicy>,
    /// Whether anything is shipped: an answer that lacks only one token needs no decode node.
    pub ships: bool,
}

/// Two nodes, and the model and plan they hold.
///
/// An answer continues only with the model and plan that began it: the rest of another model's answer would be wrong
/// text. Among such pairs, the prompt is in this prefill node's prefix cache, which is worth more than a shorter queue;
/// the decode node keeps nothing of the answer, and only breaks ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Address of the prefill node.
    pub prefill: String,
    /// Address of the decode node.
    pub decode: String,
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Id of the plan in force; empty if there is none.
    pub plan_id: String,
}

impl Wish {
    /// Whether the prefill node, and whether the decode node, differ from those on which the answer was begun.
    pub fn differs(&self, prefill: &NodeView, decode: &NodeView) -> (bool, bool) {
        self.again
            .as_ref()
            .map_or((false, false), |pair| (*pair.prefill != *prefill.address, *pair.decode != *decode.address))
    }

    /// Number of reasons that earlier failures give against a pair.
    pub fn against(&self, prefill: &NodeView, decode: &NodeView) -> u32 {
        self.failures.iter().map(|failure| failure.against(&prefill.address, &decode.address)).sum()
    }

    /// Whether a pair includes a party that failed an attempt of the request.
    pub fn is_failed_by(&self, prefill: &NodeView, decode: &NodeView) -> bool {
        self.failures.iter().any(|failure| failure.is_of(&prefill.address, &decode.address))
    }

    /// Whether a node holds the model and plan with which the answer was begun.
    pub fn permits(&self, node: &NodeDescription) -> bool {
        let is_same = |pair: &Pair| pair.model_fingerprint == node.model_fingerprint && pair.plan_id == node.plan_id;
        self.again.as_ref().is_none_or(is_same)
    }
}
