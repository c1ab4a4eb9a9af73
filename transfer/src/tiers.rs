//! The tiers of the lossy policies: the precision of a prompt's ends and of its middle.

use secateur_pruning::pdtrim::{Plan, TierRule};

use crate::{
    codec::{Codec, Grain},
    extent::Extent,
    span::{CodedSpan, TokenSpan},
};

/// Precision with which the stretches of a prompt's KV are shipped. No position is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Number of first positions that are shipped without loss: they hold the attention sinks.
    pub first: u32,
    /// Number of last positions that are shipped without loss: they hold the question.
    pub last: u32,
    /// Precision of the positions in between.
    pub middle: Codec,
    /// Precision of the positions in between in layers that the plan selects, whose attention concentrates on the ends.
    pub selected: Codec,
}

impl Tiers {
    /// Tiers of the policy `tiered` unless the plan sets its own. docs/results.md has the measurement.
    pub const DEFAULT: Tiers = Self::even(Self::DEFAULT_BITS);

    /// Approximate bits per value of the middle under `tiered`.
    pub const DEFAULT_BITS: f64 = 7.5;

    /// Tiers of the policy `small`: about 4.95 times fewer bytes than bf16, the published figure of PDTrim.
    /// docs/results.md has the measurement.
    pub const SMALL: Tiers = Self::even(3.25);

    /// The same tiers for every layer, the middle with about `bits` bits per value.
    const fn even(bits: f64) -> Tiers {
        let middle = match Grain::of_quarters((bits * 4.0) as u8) {
            Some(grain) => Codec::Steps(grain),
            None => Codec::Native,
        };
        Tiers { first: 2, last: 4, middle, selected: middle }
    }

    /// The plan's tiers, or the default.
    pub fn of(plan: Option<&Plan>) -> Tiers {
        plan.and_then(|plan| plan.document().tiers).map_or(Tiers::DEFAULT, |rule| {
            let TierRule { first, last, middle_bits, selected_bits } = rule;
            // A checked plan has only bits for which there is a codec.
            let codec = |bits| Codec::of_bits(bits).unwrap_or(Codec::Native);
            Tiers { first, last, middle: codec(middle_bits), selected: codec(selected_bits) }
        })
    }

    /// These tiers with the middle of every layer in steps of `grain`.
    pub fn with(self, grain: Grain) -> Tiers {
        let middle = Codec::Steps(grain);
        Tiers { middle, selected: middle, ..self }
    }

    /// Spans of one layer. Positions after the prompt belong to the answer and are shipped without loss, like the
    /// prompt's end.
    pub fn spans(self, plan: Option<&Plan>, layer: u32, extent: Extent) -> Vec<CodedSpan> {
        let Extent { prompt, positions } = extent;
        let is_selected = plan.is_some_and(|plan| plan.retention(layer as usize).is_some());
        let codec = if is_selected { self.selected } else { self.middle };
        let first = self.first.min(prompt);
        let last = prompt - self.last.min(prompt - first);
        let middle = CodedSpan { span: TokenSpan { start: first, end: last }, codec };
        vec![CodedSpan::native(0, first), middle, CodedSpan::native(last, positions)]
    }

    /// Position below which a prompt's shipped values are the same as in every longer prompt with the same beginning.
    pub fn settled(self, prompt: u32) -> u32 {
        prompt.saturating_sub(self.last.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::plan;
    use proptest::prelude::*;

    fn bits(bits: f64) -> Codec {
        Codec::of_bits(bits).unwrap()
    }

    fn spans(tiers: Tiers, layer: u32, prompt: u32, positions: u32) -> Vec<(u32, u32, Codec)> {
        let plan = plan();
        let spans = tiers.spans(Some(&plan), layer, Extent { prompt, positions });
        spans.into_iter().map(|coded| (coded.span.start, coded.span.end, coded.codec)).collect()
    }

    #[test]
    fn every_position_is_shipped_and_the_ends_as_they_are() {
        let native = Codec::Native;
        let tiers = Tiers { first: 2, last: 4, middle: bits(3.0), selected: bits(2.25) };
        assert_eq!(spans(tiers, 0, 100, 100), [(0, 2, native), (2, 96, bits(3.0)), (96, 100, native)]);
        // The plan selects the layer, and three tokens of the answer follow the prompt.
        assert_eq!(spans(tiers, 2, 100, 103), [(0, 2, native), (2, 96, bits(2.25)), (96, 103, native)]);
        assert_eq!(spans(tiers, 0, 5, 5), [(0, 2, native), (2, 2, bits(3.0)), (2, 5, native)]);
        assert_eq!(spans(tiers, 0, 1, 2), [(0, 1, native), (1, 1, bits(3.0)), (1, 2, native)]);
    }

    #[test]
    fn a_plan_may_say_how_precisely() {
        let mut document = plan().document().clone();
        document.tiers = Some(TierRule { first: 1, last: 9, middle_bits: 8.0, selected_bits: 16.0 });
        let plan = Plan::new(document).unwrap();
        let found = Tiers { first: 1, last: 9, middle: bits(8.0), selected: Codec::Native };
        assert_eq!((Tiers::of(Some(&plan)), Tiers::of(None)), (found, Tiers::DEFAULT));
    }

    proptest! {
        /// Settled positions have the same codec in every longer prompt.
        #[test]
        fn settled_positions_keep_their_codec(prompt in 1u32..200, more in 0u32..200, first in 0u32..9, last in 0u32..9) {
            let tiers = Tiers { first, last, ..Tiers::DEFAULT };
            let codec = |prompt: u32, at: u32| {
                let spans = spans(tiers, 0, prompt, prompt);
                spans.into_iter().find(|(start, end, _)| (*start..*end).contains(&at)).map(|(_, _, codec)| codec)
            };
            for at in 0..tiers.settled(prompt) {
                prop_assert_eq!(codec(prompt, at), codec(prompt + more, at));
            }
        }
    }
}
