//! Spans of a layer's tokens with their precision, and the parts that they are cut into.

use crate::codec::Codec;

/// Most positions in one part.
pub const PART_POSITIONS: u32 = 128;
/// Most bytes of a part's values before coding, unless [`PART_POSITIONS_MIN`] positions have more.
const PART_BYTES_MAX: u64 = 2 << 20;
const PART_POSITIONS_MIN: u32 = 16;

/// Tokens `start..end` of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenSpan {
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

impl TokenSpan {
    /// Number of tokens in the span.
    pub fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the span holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A span and its precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodedSpan {
    /// The tokens.
    pub span: TokenSpan,
    /// Precision of the tokens' KV.
    pub codec: Codec,
}

impl CodedSpan {
    /// The span `start..end`, shipped without loss.
    pub fn native(start: u32, end: u32) -> Self {
        Self { span: TokenSpan { start, end }, codec: Codec::Native }
    }
}

/// A separately coded piece of a layer: K and V of consecutive positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The positions.
    pub span: TokenSpan,
    /// Precision of the positions' KV.
    pub codec: Codec,
    /// Index of the part's first row among all rows of the layer, including those that the receiver held already.
    pub first_row: u32,
}

/// Number of positions between two cuts, a power of two from 16 to 128, given the bytes of K and V of one position.
pub fn part_positions(bytes_per_position: u64) -> u32 {
    let mut positions = PART_POSITIONS;
    while positions > PART_POSITIONS_MIN && bytes_per_position.saturating_mul(positions.into()) > PART_BYTES_MAX {
        positions /= 2;
    }
    positions
}

/// Cuts well-formed spans into parts at multiples of `every`. Positions below `held` are left out, as the receiver has
/// them.
pub fn parts(spans: &[CodedSpan], every: u32, held: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut first_row = 0;
    for CodedSpan { span, codec } in spans {
        let mut start = span.start;
        while start < span.end {
            // Near u32::MAX there is no next multiple.
            let end = (start / every).checked_add(1).and_then(|next| next.checked_mul(every)).unwrap_or(span.end);
            let span = TokenSpan { start, end: end.min(span.end) };
            start = span.end;
            let kept = TokenSpan { start: span.start.max(held), end: span.end };
            if !kept.is_empty() {
                parts.push(Part { span: kept, codec: *codec, first_row: first_row + (kept.start - span.start) });
            }
            first_row += span.len();
        }
    }
    parts
}

/// Whether spans are non-empty, ascending, disjoint and inside `0..positions`.
pub fn are_well_formed(spans: &[CodedSpan], positions: u32) -> bool {
    let ordered = spans.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start);
    ordered && spans.iter().all(|CodedSpan { span, .. }| !span.is_empty() && span.end <= positions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: u32, end: u32) -> CodedSpan {
        CodedSpan::native(start, end)
    }

    #[test]
    fn spans_are_ascending_disjoint_and_inside() {
        assert!(are_well_formed(&[span(0, 4), span(4, 5), span(7, 9)], 9));
        for bad in [vec![span(0, 4), span(3, 5)], vec![span(2, 2)], vec![span(5, 3)], vec![span(0, 10)]] {
            assert!(!are_well_formed(&bad, 9), "{bad:?}");
        }
    }

    #[test]
    fn parts_are_cut_at_multiples_whatever_is_held() {
        let low = |start, end| CodedSpan { codec: Codec::of_bits(4.0).unwrap(), ..span(start, end) };
        let spans = [span(0, 4), low(4, 300), span(310, 330)];
        let cut = |held| -> Vec<_> {
            parts(&spans, 128, held).iter().map(|p| (p.span.start, p.span.end, p.first_row)).collect()
        };
        assert_eq!(cut(0), [(0, 4, 0), (4, 128, 4), (128, 256, 128), (256, 300, 256), (310, 330, 300)]);
        assert_eq!(cut(144), [(144, 256, 144), (256, 300, 256), (310, 330, 300)]);
        assert_eq!(cut(330), []);
    }

    #[test]
    fn parts_stay_below_two_mebibytes() {
        // Llama-3.2-1B in bf16, Llama-2-7B in f16 and f32, and an absurd size.
        assert_eq!([2_048, 16_384, 32_768, u64::MAX].map(part_positions), [128, 128, 64, 16]);
    }

    proptest! {
        #[test]
        fn parts_cover_what_is_not_held(cuts in prop::collection::btree_set(0u32..2_000, 2..12), held in 0u32..2_000) {
            let cuts: Vec<u32> = cuts.into_iter().collect();
            let spans: Vec<CodedSpan> = cuts.chunks_exact(2).map(|pair| span(pair[0], pair[1])).collect();
            let parts = parts(&spans, 128, held);
            let of_spans: Vec<u32> = spans.iter().flat_map(|s| s.span.start..s.span.end).collect();
            let due: Vec<u32> = of_spans.iter().copied().filter(|&at| at >= held).collect();
            let of_parts: Vec<u32> = parts.iter().flat_map(|p| p.span.start..p.span.end).collect();
            prop_assert_eq!(&of_parts, &due);
            for part in parts {
                prop_assert!(part.span.len() <= 128);
                prop_assert_eq!(of_spans[part.first_row as usize], part.span.start);
            }
        }

        #[test]
        fn the_end_of_numbers_is_no_trap(start in u32::MAX - 300..u32::MAX) {
            let parts = parts(&[span(start, u32::MAX)], 128, 0);
            prop_assert_eq!(parts.iter().map(|part| part.span.len()).sum::<u32>(), u32::MAX - start);
        }
    }
}
