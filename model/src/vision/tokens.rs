//! Visual tokens, and the rows of numbers that pruning methods work on.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{ModelError, Result};

/// Visual tokens of one picture on the host, ready for a prompt. Clones share them.
///
/// Each token keeps its place in the picture, so that in models with two-dimensional positions pruning changes neither
/// its position nor that of the text after the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct VisualTokens {
    /// Embeddings, [tokens, width].
    data: Arc<Vec<f32>>,
    width: usize,
    /// For each token, its index before pruning.
    origins: Arc<[u32]>,
    /// Offset of each token's position from the picture's first one; M-RoPE only.
    offsets: Option<Arc<[[u32; 3]]>>,
    picture: Arc<Whole>,
}

/// Properties of the picture that pruning does not change.
#[derive(Debug, PartialEq)]
struct Whole {
    /// How many positions the picture takes; M-RoPE only.
    advance: Option<u32>,
    tiles: Vec<Range<usize>>,
    /// Number of tokens when the tower gets the whole picture and none is pruned.
    tokens: usize,
}

/// Rows of f32 on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Values of all rows, one row after another.
    pub data: Vec<f32>,
    /// Number of values in a row.
    pub width: usize,
}

impl VisualTokens {
    /// The unpruned tokens of a picture, [tokens, width], at consecutive positions. `tiles` are row ranges.
    pub(crate) fn in_line(data: Vec<f32>, width: usize, tiles: Vec<Range<usize>>) -> VisualTokens {
        let tokens = data.len() / width;
        let origins = (0..tokens as u32).collect();
        let picture = Arc::new(Whole { advance: None, tiles, tokens });
        VisualTokens { data: Arc::new(data), width, origins, offsets: None, picture }
    }

    /// Tokens of a picture whose positions are those of a grid of `rows` and `columns`: `shown` are the cells that the
    /// tower got, line by line, ascending.
    pub(crate) fn in_grid(
        data: Vec<f32>,
        width: usize,
        (rows, columns): (usize, usize),
        shown: &[usize],
    ) -> VisualTokens {
        let place = |&cell: &usize| [0, (cell / columns) as u32, (cell % columns) as u32];
        let tiles = std::iter::once(0..shown.len()).collect();
        VisualTokens {
            data: Arc::new(data),
            width,
            origins: shown.iter().map(|&cell| cell as u32).collect(),
            offsets: Some(shown.iter().map(place).collect()),
            picture: Arc::new(Whole { advance: Some(rows.max(columns) as u32), tiles, tokens: rows * columns }),
        }
    }

    /// The same tokens, of a picture that would have `tokens` tokens if the tower had got all of it.
    pub(crate) fn out_of(self, tokens: usize) -> VisualTokens {
        let Whole { advance, tiles, .. } = &*self.picture;
        VisualTokens { picture: Arc::new(Whole { advance: *advance, tiles: tiles.clone(), tokens }), ..self }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens that the picture has when the tower gets all of it and none is pruned.
    pub fn unpruned(&self) -> usize {
        self.picture.tokens
    }

    /// Number of values in a token, which is the width of the language model.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values of all tokens, one token after another: [tokens, width].
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// A copy of the tokens as rows, [tokens, width].
    pub fn rows(&self) -> Rows {
        Rows { data: self.data.to_vec(), width: self.width }
    }

    /// The index of each row among the picture's unpruned tokens.
    pub fn origins(&self) -> &[u32] {
        &self.origins
    }

    /// M-RoPE models only: the distance of each row's position from the picture's first one in time, height and width.
    pub fn offsets(&self) -> Option<&[[u32; 3]]> {
        self.offsets.as_deref()
    }

    /// Distance of the next text token's position from the picture's first one: the number of rows, or, for M-RoPE
    /// models, the longer side of the picture's grid, pruned or not.
    pub fn advance(&self) -> u32 {
        self.picture.advance.unwrap_or(self.len() as u32)
    }

    /// Row ranges of the unpruned picture, for methods that prune each part by itself: for LLaVA-NeXT the whole picture
    /// and then the grid of its tiles; for others a single range.
    pub fn tiles(&self) -> &[Range<usize>] {
        &self.picture.tiles
    }

    /// The tokens at these indices, in this order.
    pub fn keep(&self, indices: &[usize]) -> Result<VisualTokens, ModelError> {
        let len = self.len();
        if let Some(&index) = indices.iter().find(|&&index| index >= len) {
            return Err(ModelError::OutOfRange { what: "visual token", index, len });
        }
        let row = |index: &usize| &self.data[index * self.width..][..self.width];
        Ok(VisualTokens {
            data: Arc::new(indices.iter().flat_map(row).copied().collect()),
            width: self.width,
            origins: indices.iter().map(|index| self.origins[*index]).collect(),
            offsets: self.offsets.as_ref().map(|offsets| indices.iter().map(|index| offsets[*index]).collect()),
            picture: self.picture.clone(),
        })
    }
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `index`. Panics if it is out of range.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> VisualTokens {
        VisualTokens::in_line(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, vec![0..1, 1..3])
    }

    #[test]
    fn kept_tokens_come_in_the_order_asked_for() {
        let kept = tokens().keep(&[2, 0]).unwrap();
        let rows = kept.rows();
        assert_eq!((rows.len(), rows.row(0), rows.row(1)), (2, &[5.0, 6.0][..], &[1.0, 2.0][..]));
        assert_eq!((kept.data(), kept.width()), (&[5.0, 6.0, 1.0, 2.0][..], 2));
    }

    #[test]
    fn none_may_be_kept_but_none_invented() {
        assert!(tokens().keep(&[]).unwrap().is_empty());
        assert!(matches!(tokens().keep(&[3]), Err(ModelError::OutOfRange { index: 3, len: 3, .. })));
    }

    #[test]
    fn kept_tokens_know_where_they_were() {
        let kept = tokens().keep(&[1, 2]).unwrap().keep(&[1]).unwrap();
        assert_eq!((kept.origins(), kept.advance(), kept.tiles()), (&[2][..], 1, &[0..1, 1..3][..]));
        assert_eq!(kept.offsets(), None);
    }

    #[test]
    fn places_in_a_grid_outlive_pruning() {
        let grid = VisualTokens::in_grid(vec![0.0; 6], 1, (2, 3), &[0, 1, 2, 3, 4, 5]);
        let kept = grid.keep(&[5, 1]).unwrap();
        assert_eq!(kept.offsets().unwrap(), [[0, 1, 2], [0, 0, 1]]);
        assert_eq!((kept.origins(), kept.advance(), grid.advance()), (&[5, 1][..], 3, 3));
        assert_eq!((kept.len(), kept.unpruned()), (2, 6));
    }

    #[test]
    fn cells_that_the_tower_was_not_shown_leave_the_others_in_place() {
        let some = VisualTokens::in_grid(vec![0.0; 2], 1, (2, 3), &[1, 5]);
        assert_eq!(some.offsets().unwrap(), [[0, 0, 1], [0, 1, 2]]);
        assert_eq!((some.origins(), some.advance(), some.tiles()[0].clone()), (&[1, 5][..], 3, 0..2));
        assert_eq!((some.len(), some.unpruned()), (2, 6));
    }
}
