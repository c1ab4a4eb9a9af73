//! The tiers of the `tiered` policy: how precisely the ends and the middle of a prompt are shipped.

use secateur_pruning::pdtrim::{Plan, TierRule};

use crate::{
    codec::Codec,
    policy::Extent,
    span::{CodedSpan, TokenSpan},
};

/// How precisely a prompt's KV is shipped. Nothing is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// First positions that are shipped as they are: attention sinks are there.
    pub first: u32,
    /// Last positions that are shipped so: what is asked is there.
    pub last: u32,
    /// Of what lies between.
    pub middle: Codec,
    /// The same in layers that the plan selects, whose attention concentrates on the ends.
    pub selected: Codec,
}

impl Tiers {
    /// What is shipped where the plan says nothing else. docs/results.md has the measurement.
    pub const DEFAULT: Tiers = Tiers { first: 2, last: 4, middle: Codec::Int3, selected: Codec::Int2 };

    /// The plan's, or the default.
    pub fn of(plan: Option<&Plan>) -> Tiers {
        plan.and_then(|plan| plan.document().tiers).map_or(Tiers::DEFAULT, |rule| {
            let TierRule { first, last, middle_bits, selected_bits } = rule;
            // A plan that was checked has no other bits.
            let codec = |bits| Codec::of_bits(bits).unwrap_or(Codec::Native);
            Tiers { first, last, middle: codec(middle_bits), selected: codec(selected_bits) }
        })
    }

    /// Spans of one layer. What follows the prompt is the answer's, and shipped as its end is.
    pub fn spans(self, plan: Option<&Plan>, layer: u32, extent: Extent) -> Vec<CodedSpan> {
        let Extent { prompt, positions } = extent;
        let is_selected = plan.is_some_and(|plan| plan.retention(layer as usize).is_some());
        let codec = if is_selected { self.selected } else { self.middle };
        let first = self.first.min(prompt);
        let last = prompt - self.last.min(prompt - first);
        let middle = CodedSpan { span: TokenSpan { start: first, end: last }, codec };
        vec![CodedSpan::native(0, first), middle, CodedSpan::native(last, positions)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::plan;

    fn spans(tiers: Tiers, layer: u32, prompt: u32, positions: u32) -> Vec<(u32, u32, Codec)> {
        let plan = plan();
        let spans = tiers.spans(Some(&plan), layer, Extent { prompt, positions });
        spans.into_iter().map(|coded| (coded.span.start, coded.span.end, coded.codec)).collect()
    }

    #[test]
    fn every_position_is_shipped_and_the_ends_as_they_are() {
        use Codec::{Int2, Int3, Native};
        let tiers = Tiers { first: 2, last: 4, middle: Int3, selected: Int2 };
        assert_eq!(spans(tiers, 0, 100, 100), [(0, 2, Native), (2, 96, Int3), (96, 100, Native)]);
        // Selected by the plan, and three tokens of the answer behind the prompt.
        assert_eq!(spans(tiers, 2, 100, 103), [(0, 2, Native), (2, 96, Int2), (96, 103, Native)]);
        assert_eq!(spans(tiers, 0, 5, 5), [(0, 2, Native), (2, 2, Int3), (2, 5, Native)]);
        assert_eq!(spans(tiers, 0, 1, 2), [(0, 1, Native), (1, 1, Int3), (1, 2, Native)]);
    }

    #[test]
    fn a_plan_may_say_how_precisely() {
        let mut document = plan().document().clone();
        document.tiers = Some(TierRule { first: 1, last: 9, middle_bits: 8, selected_bits: 16 });
        let plan = Plan::new(document).unwrap();
        let found = Tiers { first: 1, last: 9, middle: Codec::Int8, selected: Codec::Native };
        assert_eq!((Tiers::of(Some(&plan)), Tiers::of(None)), (found, Tiers::DEFAULT));
    }
}
