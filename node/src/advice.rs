//! Default policies of a checkpoint for requests that do not choose, and the evidence for them.

use std::path::Path;

use anyhow::Context;
use secateur_model::{Card, VisualAdvice};
use secateur_pruning::{VisualPolicy, pdtrim::Plan};
use secateur_transfer::{Grain, Tiers, TransferPolicy};

/// Visual policies that the checkpoint's card recommends for one picture and for several, based on measurement. For a
/// checkpoint without measurements every visual token is kept: at any smaller share, some checkpoint or kind of picture
/// lost more than a point (docs/results.md).
pub fn recommended_visual(dir: &Path) -> anyhow::Result<(VisualPolicy, VisualPolicy)> {
    let (one, several) = Card::read(dir)?.map(|card| (card.visual, card.visual_several)).unwrap_or_default();
    let policy = |advice: Option<VisualAdvice>| match advice {
        Some(advice) => VisualPolicy::new(advice.method.parse()?, advice.keep)
            .context("the checkpoint's card recommends a visual policy that this version does not have"),
        None => Ok(VisualPolicy::KEEP_ALL),
    };
    Ok((policy(one)?, policy(several)?))
}

/// The policy that `tiered` stands for on a checkpoint, and the evidence for its precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Precision {
    /// `tiered`, or `tiered` at a number of bits of the checkpoint's own.
    pub policy: TransferPolicy,
    /// Evidence for the precision, in a few words.
    pub evidence: String,
}

impl Precision {
    /// The plan's own tiers, else the card's advice, else the default precision, which lost nothing on the models that
    /// were measured.
    pub fn of(dir: &Path, plan: Option<&Plan>) -> anyhow::Result<Precision> {
        if plan.is_some_and(|plan| plan.document().tiers.is_some()) {
            return Ok(Precision { policy: TransferPolicy::Tiered, evidence: "the plan's own".to_owned() });
        }
        let advice = Card::read(dir)?.and_then(|card| card.transfer);
        let measured = advice.and_then(|advice| {
            let policy = TransferPolicy::TieredAt(Grain::of_bits(advice.bits)?);
            Some(Precision { policy, evidence: format!("the checkpoint's card: {}", advice.evidence) })
        });
        Ok(measured.unwrap_or_else(|| Precision {
            policy: TransferPolicy::Tiered,
            evidence: format!("{} bits: {DEFAULT_EVIDENCE}", Tiers::DEFAULT_BITS),
        }))
    }
}

/// Evidence for the default precision.
const DEFAULT_EVIDENCE: &str = "the default, measured on SmolLM2-135M and Qwen2.5-Coder-0.5B, not on this checkpoint";

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_pruning::VisualMethod;

    fn with_card(card: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secateur.json"), card).unwrap();
        dir
    }

    #[test]
    fn of_a_checkpoint_that_nobody_measured_nothing_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recommended_visual(dir.path()).unwrap(), (VisualPolicy::KEEP_ALL, VisualPolicy::KEEP_ALL));
        let found = Precision::of(dir.path(), None).unwrap();
        assert_eq!(found.policy, TransferPolicy::Tiered);
        assert!(found.evidence.starts_with("7.5 bits: the default"), "{}", found.evidence);
    }

    #[test]
    fn a_card_says_what_was_measured() {
        let dir = with_card(
            r#"{"format": 1, "visual": {"method": "coverage", "keep": 0.5}, "transfer": {"bits": 4.5, "evidence": "KL 0.001"}}"#,
        );
        let (one, several) = recommended_visual(dir.path()).unwrap();
        assert_eq!((one.method(), one.keep(), several), (VisualMethod::Coverage, 0.5, VisualPolicy::KEEP_ALL));
        let found = Precision::of(dir.path(), None).unwrap();
        assert_eq!(found.policy.to_string(), "tiered:4.5");
        assert_eq!(found.evidence, "the checkpoint's card: KL 0.001");
    }

    #[test]
    fn a_card_with_an_unknown_method_is_refused() {
        let dir = with_card(r#"{"format": 1, "visual": {"method": "telepathy", "keep": 0.5}}"#);
        assert!(recommended_visual(dir.path()).is_err());
    }
}
