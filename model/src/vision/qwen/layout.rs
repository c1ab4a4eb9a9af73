//! The order in which the tower takes the tokens of some pictures, and who sees whom.
//!
//! Tokens of a window lie next to each other (transformers' `get_vision_window_index`), so that attention within
//! windows and attention within pictures are both attention within segments of rows.

use std::ops::Range;

use crate::vision::qwen::grid::Grid;

/// An order for the tokens of several pictures.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// For each place, which token stands there: an index among all the pictures' tokens, line by line.
    pub tokens: Vec<usize>,
    /// For each place, row and column of its token in its picture.
    pub cells: Vec<(usize, usize)>,
    /// Ranges of places.
    pub windows: Vec<Range<usize>>,
    /// Ranges of places.
    pub pictures: Vec<Range<usize>>,
}

impl Layout {
    /// `window` tokens along each side of a window.
    pub fn new(grids: &[Grid], window: usize) -> Layout {
        let mut layout = Layout { tokens: vec![], cells: vec![], windows: vec![], pictures: vec![] };
        for grid in grids {
            layout.add(*grid, window);
        }
        layout
    }

    fn add(&mut self, grid: Grid, window: usize) {
        let first = self.tokens.len();
        for top in (0..grid.rows).step_by(window) {
            for left in (0..grid.columns).step_by(window) {
                let start = self.tokens.len();
                for row in top..grid.rows.min(top + window) {
                    for column in left..grid.columns.min(left + window) {
                        self.tokens.push(first + row * grid.columns + column);
                        self.cells.push((row, column));
                    }
                }
                self.windows.push(start..self.tokens.len());
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
        let layout = Layout::new(&[Grid { rows: 1, columns: 1 }, Grid { rows: 2, columns: 3 }], 2);
        assert_eq!(layout.tokens, [0, 1, 2, 4, 5, 3, 6]);
        assert_eq!(layout.cells, [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2)]);
        assert_eq!(layout.windows, [0..1, 1..5, 5..7]);
        assert_eq!(layout.pictures, [0..1, 1..7]);
    }
}
