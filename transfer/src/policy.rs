//! Transfer policies: which tokens each layer ships, by policy and plan.

use std::{fmt, str::FromStr};

use secateur_proto::v1;
use secateur_pruning::pdtrim::Plan;

pub use crate::extent::Extent;
use crate::{codec::Grain, span::CodedSpan, tiers::Tiers};

/// First wire tag of `tiered` at a grain of its own: the tag minus this is the grain in quarters of a bit.
const TIERED_AT: i32 = 256;

/// Policy that decides which KV is shipped and how precisely. The default is the reference: all KV as computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TransferPolicy {
    /// All tokens of all kept layers, in the dtype that they were computed in.
    #[default]
    Dense,
    /// PDTrim: in the layers that the plan selects only the first and last tokens of the prompt, in other layers all
    /// tokens.
    PdTrim,
    /// Secateur's own: all tokens, the first and last ones as computed, those in between as whole numbers of fine
    /// steps.
    Tiered,
    /// `Tiered` with coarser steps: about as few bytes as PDTrim publishes.
    Small,
    /// `Tiered` with steps as fine as the request says.
    TieredAt(Grain),
}

/// Error for a text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown transfer policy `{0}`; there are: dense, pdtrim, tiered, tiered:BITS (2 to 10 in quarters), small")]
pub struct UnknownPolicy(pub String);

impl TransferPolicy {
    /// Every policy that has a name of its own, in the order in which documents list them.
    pub const ALL: [TransferPolicy; 4] =
        [TransferPolicy::Dense, TransferPolicy::PdTrim, TransferPolicy::Tiered, TransferPolicy::Small];

    /// The name in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self.named() {
            TransferPolicy::Dense => "dense",
            TransferPolicy::PdTrim => "pdtrim",
            TransferPolicy::Tiered | TransferPolicy::TieredAt(_) => "tiered",
            TransferPolicy::Small => "small",
        }
    }

    /// The policy of [`ALL`](Self::ALL) under whose name this one is reported.
    pub fn named(self) -> TransferPolicy {
        match self {
            TransferPolicy::TieredAt(_) => TransferPolicy::Tiered,
            named => named,
        }
    }

    /// Approximate bits per value of KV that is shipped with loss; `None` if the policy ships all KV as computed.
    pub fn precision(self, plan: Option<&Plan>) -> Option<f64> {
        match self {
            TransferPolicy::Dense | TransferPolicy::PdTrim => None,
            _ => self.tiers(plan).middle.bits(),
        }
    }

    /// Bits per value that the request itself chose; `None` for the policies of [`ALL`](Self::ALL).
    pub fn bits(self) -> Option<f64> {
        match self {
            TransferPolicy::TieredAt(grain) => Some(grain.bits()),
            _ => None,
        }
    }

    /// Whether this policy can be used with `plan`: PDTrim needs a plan that selects layers.
    pub fn is_possible_with(self, plan: Option<&Plan>) -> bool {
        match self {
            TransferPolicy::Dense | TransferPolicy::Tiered | TransferPolicy::Small | TransferPolicy::TieredAt(_) => {
                true
            }
            TransferPolicy::PdTrim => plan.is_some_and(|plan| !plan.document().kv.is_empty()),
        }
    }

    /// The spans that a layer ships.
    pub fn spans(self, plan: Option<&Plan>, layer: u32, extent: Extent) -> Vec<CodedSpan> {
        let Extent { prompt, positions } = extent;
        let spans = match self {
            TransferPolicy::Dense => vec![CodedSpan::native(0, positions)],
            TransferPolicy::PdTrim => {
                let ends = plan.and_then(|plan| plan.ends(layer as usize, prompt as usize));
                match ends.filter(|ends| !ends.is_all()) {
                    None => vec![CodedSpan::native(0, positions)],
                    // Positions after the prompt belong to the answer, of which nothing is ever left out.
                    Some(ends) => vec![
                        CodedSpan::native(0, ends.first() as u32),
                        CodedSpan::native(prompt - ends.last() as u32, positions),
                    ],
                }
            }
            TransferPolicy::Tiered | TransferPolicy::Small | TransferPolicy::TieredAt(_) => {
                self.tiers(plan).spans(plan, layer, extent)
            }
        };
        spans.into_iter().filter(|coded| !coded.span.is_empty()).collect()
    }

    /// The tiers of a lossy policy.
    fn tiers(self, plan: Option<&Plan>) -> Tiers {
        match self {
            TransferPolicy::TieredAt(grain) => Tiers::of(plan).with(grain),
            TransferPolicy::Small => Tiers::SMALL,
            _ => Tiers::of(plan),
        }
    }

    /// Position below which the receiver may use KV from an earlier shipment, since this shipment would bring the same
    /// bits there. `None` if it may use none, because layers lack positions.
    pub fn held_max(self, plan: Option<&Plan>, extent: Extent) -> Option<u32> {
        match self {
            // A prompt's last row is always computed, and something must be shipped.
            TransferPolicy::Dense => Some(extent.prompt.saturating_sub(1)),
            TransferPolicy::Tiered | TransferPolicy::Small | TransferPolicy::TieredAt(_) => {
                Some(self.tiers(plan).settled(extent.prompt))
            }
            TransferPolicy::PdTrim => None,
        }
    }

    /// Position below which the receiver may keep this shipment's KV for a later one, which uses it only below its own
    /// [`TransferPolicy::held_max`]. From that position on, a longer prompt would bring other bits.
    pub fn kept_max(self, plan: Option<&Plan>, extent: Extent) -> Option<u32> {
        match self {
            TransferPolicy::Dense => Some(extent.positions),
            _ => self.held_max(plan, extent),
        }
    }

    /// The wire tag.
    pub fn to_proto(self) -> i32 {
        match self {
            TransferPolicy::Dense => v1::TransferPolicy::Dense as i32,
            TransferPolicy::PdTrim => v1::TransferPolicy::Pdtrim as i32,
            TransferPolicy::Tiered => v1::TransferPolicy::Tiered as i32,
            TransferPolicy::Small => v1::TransferPolicy::Small as i32,
            TransferPolicy::TieredAt(grain) => TIERED_AT + i32::from(grain.quarters()),
        }
    }

    /// The policy of a wire tag; `None` if the tag is unknown.
    pub fn from_proto(tag: i32) -> Option<TransferPolicy> {
        if let Some(grain) = tag.checked_sub(TIERED_AT).and_then(|quarters| u8::try_from(quarters).ok()) {
            return Grain::of_quarters(grain).map(TransferPolicy::TieredAt);
        }
        match v1::TransferPolicy::try_from(tag).ok()? {
            v1::TransferPolicy::Unspecified => None,
            v1::TransferPolicy::Dense => Some(TransferPolicy::Dense),
            v1::TransferPolicy::Pdtrim => Some(TransferPolicy::PdTrim),
            v1::TransferPolicy::Tiered => Some(TransferPolicy::Tiered),
            v1::TransferPolicy::Small => Some(TransferPolicy::Small),
        }
    }
}

impl fmt::Display for TransferPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())?;
        self.bits().map_or(Ok(()), |bits| write!(out, ":{bits}"))
    }
}

impl FromStr for TransferPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = match text.split_once(':') {
            Some(("tiered", bits)) => bits.parse().ok().map(TransferPolicy::TieredAt),
            _ => Self::ALL.into_iter().find(|policy| policy.as_str() == text),
        };
        found.ok_or_else(|| UnknownPolicy(text.to_owned()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::Codec;

    /// A plan for four blocks, of which decode skips the second, and the third ships only first and last tokens.
    pub(crate) fn plan() -> Plan {
        let text = r#"{"format":1,"model_fingerprint":"f","layers":4,
            "calibration":{"name":"c","digest":"d","samples":1,"seed":0},"rule":"subset",
            "prefill":{"removed":[]},"decode":{"removed":[{"layer":1}]},
            "kv":[{"layer":2,"keep":0.1,"phi":0.5,"first_min":4,"last_min":8}]}"#;
        Plan::parse(text).unwrap()
    }

    #[test]
    fn pdtrim_ships_the_ends_of_selected_layers_and_all_of_the_answer() {
        let plan = plan();
        let spans = |layer, prompt, positions| {
            let spans = TransferPolicy::PdTrim.spans(Some(&plan), layer, Extent { prompt, positions });
            assert!(spans.iter().all(|coded| coded.codec == Codec::Native));
            spans.into_iter().map(|coded| (coded.span.start, coded.span.end)).collect::<Vec<_>>()
        };
        assert_eq!(spans(0, 100, 103), [(0, 103)]);
        assert_eq!(spans(2, 100, 100), [(0, 5), (92, 100)]);
        assert_eq!(spans(2, 100, 103), [(0, 5), (92, 103)]);
        assert_eq!(spans(2, 12, 15), [(0, 15)]);
        assert!(!TransferPolicy::PdTrim.is_possible_with(None));
        assert!(TransferPolicy::PdTrim.is_possible_with(Some(&plan)));
    }

    #[test]
    fn names_and_tags_round_trip() {
        let at = Grain::of_bits(4.25).map(TransferPolicy::TieredAt).unwrap();
        assert_eq!((at.as_str(), at.to_string().as_str()), ("tiered", "tiered:4.25"));
        for policy in TransferPolicy::ALL.into_iter().chain([at]) {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(TransferPolicy::from_proto(policy.to_proto()), Some(policy));
        }
        for wrong in ["tiered:", "tiered:4.3", "tiered:11", "small:4", "dense:8", ""] {
            assert_eq!(wrong.parse::<TransferPolicy>(), Err(UnknownPolicy(wrong.to_owned())));
        }
        assert_eq!(TransferPolicy::from_proto(256 + 7), None);
        assert_eq!(TransferPolicy::from_proto(0), None);
        assert_eq!(TransferPolicy::from_proto(99), None);
    }
}
