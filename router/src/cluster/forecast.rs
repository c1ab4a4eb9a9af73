//! Predicts the cost of a request on a pair of nodes, from the nodes' descriptions and from measurements.

use secateur_proto::v1::NodeDescription;
use secateur_pruning::budget;
use secateur_transfer::TransferPolicy;
use tokio::time::Instant;

use super::{
    candidate::Candidate,
    faults::Faults,
    links::Links,
    pace::Paces,
    policy::{Decision, Inputs},
    wish::Bulk,
};
use crate::{config::PlacementMode, request::Recommended};

/// Everything known at this moment besides the nodes' descriptions.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The placement mode: whether sharing a machine counts.
    pub mode: PlacementMode,
    /// Measurements of the links.
    pub links: &'a Links,
    /// Links that failed lately.
    pub faults: &'a Faults,
    /// Measurements of the nodes.
    pub paces: &'a Paces,
    /// The current time.
    pub now: Instant,
}

impl Outlook<'_> {
    /// Whether the two nodes share a machine, so that KV crosses no network; always false if the mode ignores machines.
    pub fn is_colocated(&self, prefill: &NodeDescription, decode: &NodeDescription) -> bool {
        self.mode != PlacementMode::Disaggregated && !prefill.host_id.is_empty() && prefill.host_id == decode.host_id
    }

    /// Decides the transfer policy of `bulk` on this pair, and predicts its cost.
    pub fn decision(&self, pair: &Candidate<'_>, bulk: &Bulk) -> Decision {
        let (prefill, decode) = (&pair.prefill.address, &pair.decode.address);
        let positions = positions(pair.prefill_says, bulk);
        let link = self.links.fresh(prefill, decode, self.now);
        let pace = self.paces.of(prefill).prefill_s_per_position;
        Decision::of(Inputs {
            asked: bulk.policy,
            recommended: TransferPolicy::from_proto(pair.prefill_says.recommended_transfer),
            tiered: tiered(pair.prefill_says),
            tiered_evidence: pair.prefill_says.tiered_evidence.clone(),
            bytes: bytes(pair.prefill_says, positions),
            is_colocated: pair.is_colocated,
            ships: bulk.ships,
            bytes_per_s: link.map(|link| link.bytes_per_s),
            overlap: link.map_or(0.0, |link| link.overlap),
            prefill_s: pace.map(|pace| pace * f64::from(positions)),
        })
    }
}

/// The tiered policy with the node's precision; the plain [`TransferPolicy::Tiered`] if the node names another policy.
fn tiered(prefill: &NodeDescription) -> TransferPolicy {
    let said = TransferPolicy::from_proto(prefill.tiered);
    said.filter(|policy| policy.named() == TransferPolicy::Tiered).unwrap_or(TransferPolicy::Tiered)
}

/// Positions that the prompt fills after visual pruning, with every picture taken as the largest possible one.
fn positions(prefill: &NodeDescription, bulk: &Bulk) -> u32 {
    let recommended =
        Recommended { one: prefill.recommended_visual.as_ref(), several: prefill.recommended_visual_several.as_ref() };
    let keep = bulk.visual.resolve(recommended, bulk.pictures).keep();
    let visual = budget::kept(bulk.pictures.saturating_mul(prefill.visual_tokens_per_image as usize), keep);
    bulk.text_tokens.saturating_add(u32::try_from(visual).unwrap_or(u32::MAX))
}

/// Bytes to ship under each policy that the node offers and this router knows.
fn bytes(prefill: &NodeDescription, positions: u32) -> Vec<(TransferPolicy, u64)> {
    let costs = prefill.ship_costs.iter().filter_map(|cost| {
        let policy = TransferPolicy::from_proto(cost.policy)?;
        // The cast makes 0 of a negative number or NaN.
        Some((policy, (cost.fixed_bytes + cost.bytes_per_position * f64::from(positions)) as u64))
    });
    costs.collect()
}

/// Whether the node offers `policy`; true for a node that lists no policies.
pub fn offers(prefill: &NodeDescription, policy: TransferPolicy) -> bool {
    prefill.ship_costs.is_empty() || prefill.ship_costs.iter().any(|cost| cost.policy == policy.named().to_proto())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::VisualChoice;
    use secateur_proto::v1::{ShipCost, VisualMethod, VisualPolicy};

    fn node() -> NodeDescription {
        let cost = |policy: TransferPolicy, bytes_per_position| ShipCost {
            policy: policy.to_proto(),
            fixed_bytes: 50.0,
            bytes_per_position,
        };
        NodeDescription {
            visual_tokens_per_image: 144,
            recommended_visual: Some(VisualPolicy { method: VisualMethod::Coverage as i32, keep: 0.25 }),
            ship_costs: vec![
                cost(TransferPolicy::Dense, 100.0),
                ShipCost { policy: 99, ..Default::default() },
                cost(TransferPolicy::Tiered, 20.5),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn a_request_fills_its_text_and_what_pruning_keeps() {
        let bulk = Bulk { text_tokens: 10, pictures: 1, ..Bulk::default() };
        assert_eq!(positions(&node(), &bulk), 10 + 36);
        assert_eq!(positions(&node(), &Bulk { pictures: 0, ..bulk }), 10);
        let half = VisualChoice { keep: Some(0.5), ..VisualChoice::default() };
        assert_eq!(positions(&node(), &Bulk { pictures: 2, visual: half, ..bulk }), 10 + 144);
        assert_eq!(positions(&node(), &Bulk { text_tokens: u32::MAX, ..bulk }), u32::MAX);
    }

    #[test]
    fn bytes_are_fixed_and_by_position_for_each_policy() {
        assert_eq!(bytes(&node(), 10), [(TransferPolicy::Dense, 1_050), (TransferPolicy::Tiered, 255)]);
        assert!(offers(&node(), TransferPolicy::Tiered) && !offers(&node(), TransferPolicy::PdTrim));
        assert!(offers(&NodeDescription::default(), TransferPolicy::PdTrim), "it does not say");
    }
}
