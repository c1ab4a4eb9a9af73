//! Which tokens of a layer are shipped.

/// Tokens `start..end` of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenSpan {
    /// First token.
    pub start: u32,
    /// One past the last token.
    pub end: u32,
}

impl TokenSpan {
    /// Tokens in the span.
    pub fn len(&self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the span holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether spans are non-empty, ascending, disjoint and inside `0..positions`.
pub fn are_well_formed(spans: &[TokenSpan], positions: u32) -> bool {
    let ordered = spans.windows(2).all(|pair| pair[0].end <= pair[1].start);
    ordered && spans.iter().all(|span| !span.is_empty() && span.end <= positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u32, end: u32) -> TokenSpan {
        TokenSpan { start, end }
    }

    #[test]
    fn spans_are_ascending_disjoint_and_inside() {
        assert!(are_well_formed(&[span(0, 4), span(4, 5), span(7, 9)], 9));
        for bad in [vec![span(0, 4), span(3, 5)], vec![span(2, 2)], vec![span(5, 3)], vec![span(0, 10)]] {
            assert!(!are_well_formed(&bad, 9), "{bad:?}");
        }
    }
}
