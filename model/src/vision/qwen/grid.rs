//! The size that a picture is resized to (transformers' `smart_resize`).

use crate::checkpoint::{QwenConfig, RATIO_MAX};
use crate::error::Result;
use crate::vision::limits::PictureError;
use crate::vision::picture::Picture;

/// Number of rows and columns of visual tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    /// The grid for a picture: its pixels lie between the bounds, and its shape is as close to the picture's as whole
    /// tokens allow.
    pub fn of(picture: &Picture, config: &QwenConfig, (min, max): (usize, usize)) -> Result<Grid, PictureError> {
        Grid::fit((picture.height(), picture.width()), config.factor(), (min, max))
    }

    pub fn tokens(&self) -> usize {
        self.rows * self.columns
    }

    /// A grid of the same shape with about `share` of the tokens.
    pub fn shrunk(&self, share: f64) -> Grid {
        let side = |cells: usize| ((cells as f64 * share.sqrt()).round() as usize).max(1);
        Grid { rows: side(self.rows), columns: side(self.columns) }
    }

    /// Row and column of a cell; cells are counted line by line.
    pub fn cell(&self, index: usize) -> (usize, usize) {
        (index / self.columns, index % self.columns)
    }

    fn fit((height, width): (usize, usize), factor: usize, (min, max): (usize, usize)) -> Result<Grid, PictureError> {
        let (short, long) = (height.min(width), height.max(width));
        if long > RATIO_MAX * short {
            return Err(PictureError::Ratio { width, height, limit: RATIO_MAX });
        }
        let (h, w, f) = (height as f64, width as f64, factor as f64);
        // Rounds like Python's `round`: halves go to the even neighbour.
        let nearest = |side: f64| (side / f).round_ties_even() as usize;
        let near = Grid { rows: nearest(h), columns: nearest(w) };
        let pixels = near.tokens() * factor * factor;
        if pixels > max {
            let down = (h * w / max as f64).sqrt();
            let shrunk = |side: f64| ((side / down / f).floor() as usize).max(1);
            return Ok(Grid { rows: shrunk(h), columns: shrunk(w) });
        }
        if pixels < min {
            let up = (min as f64 / (h * w)).sqrt();
            let grown = |side: f64| (side * up / f).ceil() as usize;
            return Ok(Grid { rows: grown(h), columns: grown(w) });
        }
        Ok(near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(height: usize, width: usize, max: usize) -> (usize, usize) {
        let grid = Grid::fit((height, width), 28, (3136, max)).unwrap();
        (grid.rows * 28, grid.columns * 28)
    }

    /// Compares with transformers' `smart_resize`.
    #[test]
    fn sizes_are_the_references() {
        const MAX: usize = 12_845_056;
        assert_eq!(fit(1, 1, MAX), (56, 56));
        assert_eq!(fit(3000, 20, MAX), (2996, 28));
        assert_eq!(fit(14, 2000, MAX), (28, 672));
        // 42 and 70 are 1.5 and 2.5 times 28: both become 56.
        assert_eq!(fit(42, 70, MAX), (56, 56));
        assert_eq!(fit(6000, 4000, MAX), (4368, 2912));
        assert_eq!(fit(480, 640, 50_176), (168, 252));
        assert_eq!(fit(3000, 20, 3136), (672, 28));
    }

    #[test]
    fn a_side_more_than_200_times_the_other_is_refused() {
        assert!(Grid::fit((2, 400), 28, (3136, 5000)).is_ok());
        let refused = Grid::fit((2, 401), 28, (3136, 5000));
        assert!(matches!(refused, Err(PictureError::Ratio { width: 401, height: 2, limit: 200 })));
    }
}
