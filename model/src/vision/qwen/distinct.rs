//! Detection of the visual tokens that repeat a neighbour's pixels.
//!
//! Screenshots and pages are mostly blank: the tower would compute the same empty square again and again, and the
//! language model would read it. PixelPrune calls dropping exact repeats its lossless case: no pixel that differs is
//! lost, and positions stay those of the whole grid.

use crate::vision::qwen::grid::Grid;
use crate::vision::resample::Pixels;

/// Cells of the grid, line by line, whose pixels differ from those of the cell on the left and of the cell above. The
/// first cell is always included. `scaled` is the picture at the grid's size, with `side` pixels along each side of a
/// cell.
pub(crate) fn distinct(scaled: &Pixels<'_>, grid: Grid, side: usize) -> Vec<usize> {
    let line = |row: usize, column: usize, y: usize| {
        &scaled.bytes[((row * side + y) * scaled.width + column * side) * 3..][..side * 3]
    };
    let same = |one: (usize, usize), other: (usize, usize)| {
        (0..side).all(|y| line(one.0, one.1, y) == line(other.0, other.1, y))
    };
    let is_new = |&cell: &usize| {
        let (row, column) = (cell / grid.columns, cell % grid.columns);
        let repeats_left = || column > 0 && same((row, column), (row, column - 1));
        let repeats_above = || row > 0 && same((row, column), (row - 1, column));
        !(repeats_left() || repeats_above())
    };
    (0..grid.tokens()).filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with one grey value per cell and cells of 2 x 2 pixels.
    fn picture(columns: usize, cells: &[u8]) -> Vec<u8> {
        let lines = cells.chunks(columns).flat_map(|line| [line, line]);
        lines.flat_map(|line| line.iter().flat_map(|&grey| [grey; 6])).collect()
    }

    fn of(columns: usize, cells: &[u8]) -> Vec<usize> {
        let bytes = picture(columns, cells);
        let grid = Grid { rows: cells.len() / columns, columns };
        let scaled = Pixels { bytes: bytes.as_slice().into(), height: grid.rows * 2, width: columns * 2 };
        distinct(&scaled, grid, 2)
    }

    #[test]
    fn repeats_of_the_left_and_of_the_upper_neighbour_are_dropped() {
        assert_eq!(of(3, &[7, 7, 7, 7, 7, 7]), [0]);
        assert_eq!(of(3, &[7, 8, 7, 7, 8, 9]), [0, 1, 2, 5]);
        // A cell equal to a more distant one is kept: nothing would tell the model where the original is.
        assert_eq!(of(3, &[1, 2, 1]), [0, 1, 2]);
    }

    #[test]
    fn one_pixel_is_a_difference() {
        let mut bytes = picture(2, &[5, 5]);
        bytes[11] = 6;
        let scaled = Pixels { bytes: bytes.as_slice().into(), height: 2, width: 4 };
        assert_eq!(distinct(&scaled, Grid { rows: 1, columns: 2 }, 2), [0, 1]);
    }
}
