//! The order in which the tower processes the tokens of some pictures, and the segments within which they attend.
//!
//! Tokens of a window are contiguous (transformers' `get_vision_window_index`), so that attention within windows and
//! attention within pictures are both attention within segments of rows.

use std::ops::Range;

use crate::vision::qwen::grid::Grid;

/// An order for the tokens of several pictures.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// The token at each place: an index among all the pictures' shown tokens, line by line.
    pub tokens: Vec<usize>,
    /// Row and column, within its picture, of the token at each place.
    pub cells: Vec<(usize, usize)>,
    /// Range of places of each window.
    pub windows: Vec<Range<usize>>,
    /// Range of places of each picture.
    pub pictures: Vec<Range<usize>>,
}

impl Layout {
    /// The layout for windows of `window` tokens along each side. Each picture comes with its shown cells, line by
    /// line, ascending.
    pub fn new(pictures: &[(Grid, Vec<usize>)], window: usize) -> Layout {
        let mut layout = Layout { tokens: vec![], cells: vec![], windows: vec![], pictures: vec![] };
        for (grid, shown) in pictures {
            layout.add(*grid, shown, window);
        }
        layout
    }

    fn add(&mut self, grid: Grid, shown: &[usize], window: usize) {
        let first = self.tokens.len();
        for top in (0..grid.rows).step_by(window) {
            for left in (0..grid.columns).step_by(window) {
                let start = self.tokens.len();
                for row in top..grid.rows.min(top + window) {
                    for column in left..grid.columns.min(left + window) {
                        if let Ok(token) = shown.binary_search(&(row * grid.columns + column)) {
                            self.tokens.push(first + token);
                            self.cells.push((row, column));
                        }
                    }
                }
                // A window without any shown cell is left out.
                if start < self.tokens.len() {
                    self.windows.push(start..self.tokens.len());
                }
            }
        }
        self.pictures.push(first..self.tokens.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_at_the_edges_are_smaller() {
        let whole = |rows, columns| (Grid { rows, columns }, (0..rows * columns).collect());
        let layout = Layout::new(&[whole(1, 1), whole(2, 3)], 2);
        assert_eq!(layout.tokens, [0, 1, 2, 4, 5, 3, 6]);
        assert_eq!(layout.cells, [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]);
        assert_eq!(layout.windows, [0..1, 1..5, 5..7]);
        assert_eq!(layout.pictures, [0..1, 1..7]);
    }

    #[test]
    fn what_is_not_shown_has_no_place_and_the_others_keep_their_cells() {
        let layout = Layout::new(&[(Grid { rows: 2, columns: 5 }, vec![0, 2, 4, 7])], 2);
        assert_eq!(layout.tokens, [0, 1, 3, 2]);
        assert_eq!(layout.cells, [(0, 0), (0, 2), (1, 2), (0, 4)]);
        assert_eq!(layout.windows, [0..1, 1..3, 3..4]);
        assert_eq!(layout.pictures.iter().map(Range::len).collect::<Vec<_>>(), [4]);
    }
}
