//! What a request, and its earlier attempts, say about its next pair. Plain data.

use secateur_proto::v1::NodeDescription;
use secateur_transfer::TransferPolicy;

use super::{affinity::Near, pairing::NodeView};
use crate::openai::VisualChoice;

/// Weight of a failed link among the reasons against a pair; a node weighs one.
pub const LINK_WEIGHT: u32 = 2;

/// All that pairing asks of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Positions that it may fill. Smaller pairs are not taken unless all are: whether it fits after all is then for the
    /// nodes of the largest pair to say.
    pub positions: u32,
    /// Its attempts that failed: who failed one is taken only if there are no others.
    pub failures: Vec<Failure>,
    /// The pair that its answer was begun on.
    pub again: Option<Pair>,
    /// The pair that served the beginning of its prompt before; says nothing where `again` does.
    pub near: Option<Near>,
    /// What it will ship.
    pub bulk: Bulk,
}

/// The party that a failed attempt counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blame {
    /// None, for example where the deadline passed.
    #[default]
    Nobody,
    /// The prefill node.
    Prefill,
    /// The decode node.
    Decode,
    /// The pair: whoever reported the failure cannot tell the other node from the way to it.
    Link,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Address of its prefill node.
    pub prefill: String,
    /// Address of its decode node.
    pub decode: String,
    /// The party at fault.
    pub blame: Blame,
}

impl Failure {
    /// Number of reasons against a pair. A link that failed weighs as much as two nodes, since it is the surest to fail
    /// again.
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

    /// Whether a pair would repeat what failed.
    pub fn is_of(&self, prefill: &str, decode: &str) -> bool {
        match self.blame {
            Blame::Nobody => false,
            Blame::Prefill => self.prefill == prefill,
            Blame::Decode => self.decode == decode,
            Blame::Link => self.prefill == prefill && self.decode == decode,
        }
    }
}

/// What a request is made of, as far as that decides what shipping it costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bulk {
    /// Tokens besides pictures, those of the answer so far included.
    pub text_tokens: u32,
    /// Pictures.
    pub pictures: usize,
    /// How they are pruned.
    pub visual: VisualChoice,
    /// What the request asks to be shipped; none: `auto`.
    pub policy: Option<TransferPolicy>,
    /// Whether anything is: an answer that lacks one token needs no decode node.
    pub ships: bool,
}

/// Two nodes and what they hold.
///
/// An answer goes on with the model and plan that began it or not at all: the rest of another model's answer would be
/// wrong text. Within that, its prompt is in this prefill node's prefix cache, which is worth more than a shorter queue;
/// the decode node keeps nothing of it, and only breaks ties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Address of the prefill node.
    pub prefill: String,
    /// Address of the decode node.
    pub decode: String,
    /// Digest of the model.
    pub model_fingerprint: String,
    /// Plan in force; empty: none.
    pub plan_id: String,
}

impl Wish {
    /// Whether prefill and decode node are others than the ones the request was on.
    pub fn differs(&self, prefill: &NodeView, decode: &NodeView) -> (bool, bool) {
        self.again
            .as_ref()
            .map_or((false, false), |pair| (*pair.prefill != *prefill.address, *pair.decode != *decode.address))
    }

    /// Number of reasons that earlier failures give against a pair.
    pub fn against(&self, prefill: &NodeView, decode: &NodeView) -> u32 {
        self.failures.iter().map(|failure| failure.against(&prefill.address, &decode.address)).sum()
    }

    /// Whether a pair would repeat what failed.
    pub fn is_failed_by(&self, prefill: &NodeView, decode: &NodeView) -> bool {
        self.failures.iter().any(|failure| failure.is_of(&prefill.address, &decode.address))
    }

    /// Whether a node holds what the answer was begun with.
    pub fn permits(&self, node: &NodeDescription) -> bool {
        let is_same = |pair: &Pair| pair.model_fingerprint == node.model_fingerprint && pair.plan_id == node.plan_id;
        self.again.as_ref().is_none_or(is_same)
    }
}
