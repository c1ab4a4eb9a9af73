//! The visual tokens of one picture, and the ranges of its crops.

use std::ops::Range;

use crate::rows::Rows;

/// Visual tokens of one picture as the language model would receive them.
///
/// Selection is per crop (tile): LLaVA-NeXT has several, all other models one. Tokens outside every crop are structural
/// (LLaVA-NeXT's image newlines): they carry no picture content for a method to judge, the language model was trained
/// to find them, and they are few (one per row of the grid), so every method keeps them, in addition to its budget.
#[derive(Clone, Debug)]
pub struct PictureTokens<'a> {
    rows: Rows<'a>,
    tiles: Vec<Range<usize>>,
}

/// Error when the crops are not disjoint ascending ranges of the tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("crop {start}..{end} does not lie behind the one before it and within {tokens} tokens")]
pub struct TilesError {
    /// First token of the crop.
    pub start: usize,
    /// One past its last token.
    pub end: usize,
    /// Number of tokens of the picture.
    pub tokens: usize,
}

impl<'a> PictureTokens<'a> {
    /// A picture with one crop. `rows` is `[N, d]` after the projector.
    pub fn whole(rows: Rows<'a>) -> Self {
        Self { rows, tiles: std::iter::once(0..rows.len()).collect() }
    }

    /// A picture with several crops: disjoint ranges of `rows`, ascending.
    pub fn tiled(rows: Rows<'a>, tiles: Vec<Range<usize>>) -> Result<Self, TilesError> {
        let mut behind = 0;
        for tile in &tiles {
            if tile.start < behind || tile.end < tile.start || tile.end > rows.len() {
                return Err(TilesError { start: tile.start, end: tile.end, tokens: rows.len() });
            }
            behind = tile.end;
        }
        Ok(Self { rows, tiles })
    }

    /// All tokens, `[N, d]`.
    pub fn rows(&self) -> Rows<'a> {
        self.rows
    }

    /// Token ranges of the crops.
    pub fn tiles(&self) -> &[Range<usize>] {
        &self.tiles
    }

    /// The tokens of each crop.
    pub(crate) fn crops(&self) -> impl Iterator<Item = Rows<'a>> {
        self.tiles.iter().map(|tile| self.rows.range(tile))
    }

    /// Indices of the tokens that a method may drop, ascending.
    pub(crate) fn candidates(&self) -> Vec<usize> {
        self.tiles.iter().cloned().flatten().collect()
    }

    /// Indices of all structural tokens and of the candidates at `positions`, ascending.
    pub(crate) fn keeping(&self, positions: &[usize]) -> Vec<usize> {
        let candidates = self.candidates();
        let mut kept = vec![true; self.rows.len()];
        candidates.iter().for_each(|&index| kept[index] = false);
        positions.iter().for_each(|&position| kept[candidates[position]] = true);
        (0..kept.len()).filter(|&index| kept[index]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_must_be_disjoint_and_inside() {
        let rows = Rows::new(&[0.0; 10], 1).unwrap();
        assert!(PictureTokens::tiled(rows, vec![0..4, 5..9]).is_ok());
        #[allow(clippy::reversed_empty_ranges, clippy::single_range_in_vec_init)]
        let bad = [vec![0..4, 3..9], vec![0..11], vec![4..6, 0..2], vec![5..4]];
        for tiles in bad {
            assert!(PictureTokens::tiled(rows, tiles).is_err());
        }
    }

    #[test]
    fn structural_tokens_stay() {
        let rows = Rows::new(&[0.0; 10], 1).unwrap();
        let picture = PictureTokens::tiled(rows, vec![0..4, 5..9]).unwrap();
        assert_eq!(picture.candidates(), [0, 1, 2, 3, 5, 6, 7, 8]);
        assert_eq!(picture.keeping(&[0, 4]), [0, 4, 5, 9]);
        assert_eq!(PictureTokens::whole(rows).keeping(&[3]), [3]);
    }
}
