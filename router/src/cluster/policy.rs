//! Decides the transfer policy of a request and predicts its cost. A pure function: plain data in, decision out.
//!
//! ```text
//!   the request names one ▸ that
//!   nothing is shipped    ▸ dense
//!   the node recommends   ▸ that
//!   one machine           ▸ dense
//!   link not measured     ▸ tiered
//!   dense is soon there   ▸ dense     under 5 ms, or under a tenth of prefill
//!   otherwise             ▸ tiered
//! ```
//!
//! If the node does not offer `tiered`, the decision is `dense`.

use secateur_transfer::{Tiers, TransferPolicy};

/// Seconds of shipping below which a client notices no difference.
const SOON_S: f64 = 0.005;
/// Share of prefill's time below which shipping is too short for coding to be worth its loss.
const SMALL_SHARE: f64 = 0.1;

/// The inputs of the decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Policy that the request names; `None` means `auto`.
    pub asked: Option<TransferPolicy>,
    /// Policy that the prefill node recommends for `auto`; `None` if the link decides.
    pub recommended: Option<TransferPolicy>,
    /// Tiered policy with the precision recommended for this checkpoint.
    pub tiered: TransferPolicy,
    /// Evidence for that precision: how it was measured.
    pub tiered_evidence: String,
    /// Bytes of this request under each policy that the prefill node offers; empty if the node does not say.
    pub bytes: Vec<(TransferPolicy, u64)>,
    /// Whether both nodes are on one machine, so that KV crosses no network.
    pub is_colocated: bool,
    /// Whether there is a decode node to ship to.
    pub ships: bool,
    /// Measured rate of the link in bytes per second; `None` if not measured yet.
    pub bytes_per_s: Option<f64>,
    /// Measured share of the time on this link in which prefill still computed.
    pub overlap: f64,
    /// Predicted seconds of prefill; `None` if not measured yet.
    pub prefill_s: Option<f64>,
}

impl Decision {
    /// Evidence for the precision in use; `None` if nothing is lost, or if the request chose the precision.
    pub fn evidence(&self) -> Option<&str> {
        let is_advised = self.policy.named() == TransferPolicy::Tiered && self.policy == self.inputs.tiered;
        let asked = self.inputs.asked.is_none_or(|asked| asked == TransferPolicy::Tiered);
        (is_advised && asked && !self.inputs.tiered_evidence.is_empty()).then_some(&*self.inputs.tiered_evidence)
    }
}

/// The decision and its inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// The policy under which KV is shipped.
    pub policy: TransferPolicy,
    /// The reason in a few words; one of a closed list.
    pub why: &'static str,
    /// Predicted seconds of shipping; `None` if not known.
    pub ship_s: Option<f64>,
    /// The inputs of the decision.
    pub inputs: Inputs,
}

impl Inputs {
    /// Whether the prefill node offers `policy`; true if the node does not list its policies.
    pub fn offers(&self, policy: TransferPolicy) -> bool {
        self.bytes.is_empty() || bytes_of(&self.bytes, policy).is_some()
    }

    fn ship_s(&self, policy: TransferPolicy) -> Option<f64> {
        if self.is_colocated || !self.ships {
            return Some(0.0);
        }
        Some(bytes_of(&self.bytes, policy)? as f64 / self.bytes_per_s?)
    }

    /// The policy and its reason; a plain `tiered` gets the precision recommended for this checkpoint.
    fn policy(&self) -> (TransferPolicy, &'static str) {
        match self.named_policy() {
            (TransferPolicy::Tiered, why) => (self.tiered, why),
            other => other,
        }
    }

    fn named_policy(&self) -> (TransferPolicy, &'static str) {
        use TransferPolicy::{Dense, Tiered};
        if let Some(asked) = self.asked {
            return (asked, "the request names it");
        }
        if !self.ships {
            return (Dense, "nothing is shipped");
        }
        if let Some(recommended) = self.recommended.filter(|policy| self.offers(*policy)) {
            return (recommended, "the prefill node recommends it");
        }
        if self.is_colocated {
            return (Dense, "both nodes are on one machine");
        }
        if self.bytes.is_empty() || !self.offers(Tiered) {
            return (Dense, "the prefill node offers no tiered");
        }
        match self.ship_s(Dense) {
            None => (Tiered, "the link is not measured yet"),
            Some(seconds) if seconds < SOON_S => (Dense, "dense takes less than 5 ms"),
            Some(seconds) if self.prefill_s.is_some_and(|prefill_s| seconds < SMALL_SHARE * prefill_s) => {
                (Dense, "dense takes less than a tenth of prefill")
            }
            Some(_) => (Tiered, "dense takes long on this link"),
        }
    }
}

impl Decision {
    /// Makes the decision.
    pub fn of(inputs: Inputs) -> Self {
        let (policy, why) = inputs.policy();
        Self { policy, why, ship_s: inputs.ship_s(policy), inputs }
    }

    /// Seconds of shipping that prefill's computation does not hide; `None` if not known.
    pub fn exposed_s(&self) -> Option<f64> {
        self.ship_s.map(|seconds| seconds * (1.0 - self.inputs.overlap))
    }
}

/// Bytes to ship under `policy`. A tiered policy whose precision the request chose takes the bytes of `tiered`, scaled
/// by its bits.
fn bytes_of(bytes: &[(TransferPolicy, u64)], policy: TransferPolicy) -> Option<u64> {
    let (_, named) = bytes.iter().find(|(offered, _)| *offered == policy.named())?;
    let share = policy.bits().map_or(1.0, |bits| bits / Tiers::DEFAULT_BITS);
    Some((*named as f64 * share) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TransferPolicy::{Dense, PdTrim, Tiered};

    fn inputs() -> Inputs {
        Inputs {
            bytes: vec![(Dense, 1_000_000), (Tiered, 250_000)],
            ships: true,
            bytes_per_s: Some(10e6),
            prefill_s: Some(0.5),
            tiered: Tiered,
            ..Inputs::default()
        }
    }

    #[test]
    fn every_row_of_the_table() {
        let base = inputs;
        for (inputs, policy, why) in [
            (Inputs { asked: Some(PdTrim), recommended: Some(Dense), ..base() }, PdTrim, "names"),
            (Inputs { recommended: Some(Tiered), ships: false, ..base() }, Dense, "nothing"),
            (Inputs { recommended: Some(Dense), ..base() }, Dense, "recommends"),
            (Inputs { recommended: Some(Tiered), is_colocated: true, ..base() }, Tiered, "recommends"),
            (Inputs { recommended: Some(PdTrim), ..base() }, Tiered, "takes long"),
            (Inputs { is_colocated: true, ..base() }, Dense, "one machine"),
            (Inputs { bytes_per_s: None, ..base() }, Tiered, "not measured"),
            (Inputs { bytes_per_s: None, bytes: vec![(Dense, 9)], ..base() }, Dense, "no tiered"),
            (Inputs { bytes: Vec::new(), ..base() }, Dense, "no tiered"),
            (base(), Tiered, "takes long"),
            (Inputs { prefill_s: None, ..base() }, Tiered, "takes long"),
            (Inputs { prefill_s: Some(1.01), ..base() }, Dense, "a tenth"),
            (Inputs { prefill_s: None, bytes_per_s: Some(201e6), ..base() }, Dense, "5 ms"),
        ] {
            let decision = Decision::of(inputs);
            assert_eq!(decision.policy, policy, "{decision:?}");
            assert!(decision.why.contains(why), "{decision:?}");
        }
    }

    #[test]
    fn shipping_takes_its_bytes_over_the_links_rate() {
        let tiered = Decision::of(Inputs { overlap: 0.75, ..inputs() });
        assert_eq!((tiered.ship_s, tiered.exposed_s()), (Some(0.025), Some(0.00625)));
        assert_eq!(Decision::of(Inputs { bytes_per_s: None, ..inputs() }).exposed_s(), None);
        assert_eq!(Decision::of(Inputs { is_colocated: true, bytes_per_s: None, ..inputs() }).ship_s, Some(0.0));
        assert_eq!(Decision::of(Inputs { ships: false, ..inputs() }).ship_s, Some(0.0));
    }
}
