//! Groups of tokens that cover each other: a crop, or a part of a large one.

use std::ops::Range;

use crate::rows::Rows;

/// Most tokens in a group, which bounds its similarity matrix to 16 MiB.
pub(super) const MOST: usize = 2048;

/// Tokens of one picture that cover each other and no others.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// Index of the picture.
    pub(super) picture: usize,
    /// Range of the group's tokens among all tokens of the request.
    pub(super) span: Range<usize>,
    /// The tokens, `[n, d]`.
    pub(super) rows: Rows<'a>,
}

impl<'a> Group<'a> {
    /// The groups of all crops of all pictures, in order; together they contain every token.
    pub(super) fn of(pictures: &[Vec<Rows<'a>>]) -> Vec<Self> {
        let mut groups = Vec::new();
        let mut start = 0;
        for (picture, crops) in pictures.iter().enumerate() {
            for crop in crops {
                for part in parts(crop.len()) {
                    let rows = crop.range(&part);
                    groups.push(Group { picture, span: start..start + rows.len(), rows });
                    start += rows.len();
                }
            }
        }
        groups
    }
}

/// Contiguous ranges of nearly equal size, at most [`MOST`] tokens each; contiguous tokens are neighbours in the
/// picture.
fn parts(tokens: usize) -> impl Iterator<Item = Range<usize>> {
    let count = tokens.div_ceil(MOST);
    (0..count).map(move |part| part * tokens / count..(part + 1) * tokens / count)
}

/// The span of every picture's tokens.
pub(super) fn spans(groups: &[Group<'_>], pictures: usize) -> Vec<Range<usize>> {
    let mut behind = 0;
    let span = |picture| {
        let start = behind;
        let own = groups.iter().filter(|group| group.picture == picture);
        behind = own.map(|group| group.span.end).max().unwrap_or(start);
        start..behind
    };
    (0..pictures).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_crops_are_cut_evenly() {
        assert!(parts(2048).eq(std::iter::once(0..2048)));
        assert_eq!(parts(2049).collect::<Vec<_>>(), [0..1024, 1024..2049]);
        assert_eq!(parts(0).count(), 0);
    }

    #[test]
    fn pictures_without_tokens_have_an_empty_span() {
        let data = [0.0; 5];
        let rows = |count: usize| Rows::new(&data[..count], 1).unwrap();
        let groups = Group::of(&[vec![rows(2), rows(3)], vec![], vec![rows(1)]]);
        assert_eq!(spans(&groups, 3), [0..5, 5..5, 5..6]);
    }
}
