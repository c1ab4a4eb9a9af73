//! The tiers of the `tiered` policy: how precisely the ends and the middle of a prompt are shipped.

use secateur_pruning::pdtrim::Plan;

use crate::{codec::Codec, policy::Extent, span::{CodedSpan, TokenSpan}};

/// How precisely a prompt's KV is shipped. Nothing is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// First positions that are shipped at the ends' precision: attention sinks are there.
    pub first: u32,
    /// Last positions that are shipped so: what is asked is there.
    pub last: u32,
    /// Of the ends.
    pub ends: Codec,
    /// Of what lies between.
    pub middle: Codec,
    /// The same in layers that the plan selects, whose attention concentrates on the ends.
    pub selected: Codec,
}

impl Tiers {
    /// What is shipped where the plan says nothing else. docs/results.md has the measurement.
    pub const DEFAULT: Tiers =
        Tiers { first: 4, last: 8, ends: Codec::Native, middle: Codec::Int4, selected: Codec::Int2 };

    /// The plan's, or the default.
    pub fn of(_plan: Option<&Plan>) -> Tiers {
        std::env::var("SECATEUR_TIERS").ok().map_or(Tiers::DEFAULT, |text| {
            let n: Vec<u32> = text.split(',').map(|n| n.parse().unwrap()).collect();
            let codec = |bits: u32| Codec::of_bits(bits as u8).unwrap();
            Tiers { first: n[0], last: n[1], ends: codec(n[2]), middle: codec(n[3]), selected: codec(n[4]) }
        })
    }

    /// Spans of one layer. What follows the prompt is the answer's, and shipped as its end is.
    pub fn spans(self, plan: Option<&Plan>, layer: u32, extent: Extent) -> Vec<CodedSpan> {
        let Extent { prompt, positions } = extent;
        let is_selected = plan.is_some_and(|plan| plan.retention(layer as usize).is_some());
        let middle = if is_selected { self.selected } else { self.middle };
        let first = self.first.min(prompt);
        let last = prompt - self.last.min(prompt - first);
        let span = |start, end, codec| CodedSpan { span: TokenSpan { start, end }, codec };
        vec![span(0, first, self.ends), span(first, last, middle), span(last, positions, self.ends)]
    }
}
