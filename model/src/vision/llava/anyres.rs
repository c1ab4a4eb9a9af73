//! LLaVA-NeXT's handling of large pictures: the whole picture plus its tiles, whose features are joined into one grid.
//!
//! All arithmetic is transformers', floating point included, because one more or one fewer row of features makes
//! another prompt.

use std::ops::Range;

use crate::checkpoint::{ClipProcessor, Resize};
use crate::vision::llava::preprocess::{Line, numbers};
use crate::vision::picture::Picture;
use crate::vision::resample::resize;
use crate::vision::tokens::VisualTokens;

/// Height and width.
type Size = (usize, usize);

/// Parameters for cutting pictures into tiles and joining their features.
#[derive(Clone, Debug)]
pub(crate) struct Anyres {
    /// Sizes in pixels that a picture may be resized to, multiples of `side`.
    pub pinpoints: Vec<Size>,
    /// Side of a tile in pixels.
    pub side: usize,
    /// Side of a tile in patches.
    pub grid: usize,
    /// The vector that ends each row of features, [width].
    pub newline: Vec<f32>,
}

impl Anyres {
    /// Number of tiles that a picture of that size is cut into.
    pub fn tiles(&self, picture: Size) -> usize {
        let (rows, columns) = self.shape(picture);
        rows * columns
    }

    /// The picture's tiles, row by row, each [3, side, side]. The picture is scaled to fit and centred on black.
    pub fn cut(&self, processor: &ClipProcessor, picture: &Picture) -> Vec<Vec<f32>> {
        let Some(Resize { filter, .. }) = processor.resize else { return Vec::new() };
        let size = (picture.height(), picture.width());
        let target = best_resolution(size, &self.pinpoints);
        let (height, width) = fitted(size, target);
        let scaled = resize(picture.pixels(), (height, width), filter);
        let (above, left) = ((target.0 - height) / 2, (target.1 - width) / 2);
        let line = |tile: usize, from: usize, padding: usize| Line {
            len: self.side,
            from,
            start: (tile * self.side) as isize - padding as isize,
        };
        let (rows, columns) = self.shape(size);
        let places = (0..rows * columns).map(|tile| (tile / columns, tile % columns));
        let tile =
            |(row, column)| numbers(&processor.scale, &scaled, &line(row, height, above), &line(column, width, left));
        places.map(tile).collect()
    }

    /// Joins features, [1 + tiles, grid * grid, width], into the whole picture's, then the rows of the tiles' common
    /// grid without its padding, each row ended by `newline`.
    pub fn pack(&self, features: &[f32], picture: Size) -> VisualTokens {
        let (width, grid) = (self.newline.len(), self.grid);
        let (tile_rows, tile_columns) = self.shape(picture);
        let (rows, columns) = unpadded(picture, (tile_rows * grid, tile_columns * grid));
        let whole = grid * grid;
        let mut packed = features[..whole * width].to_vec();
        for row in rows {
            for column in columns.clone() {
                let tile = 1 + row / grid * tile_columns + column / grid;
                let patch = row % grid * grid + column % grid;
                packed.extend_from_slice(&features[(tile * whole + patch) * width..][..width]);
            }
            packed.extend_from_slice(&self.newline);
        }
        let tokens = packed.len() / width;
        VisualTokens::in_line(packed, width, vec![0..whole, whole..tokens])
    }

    /// Number of rows and of columns of tiles.
    fn shape(&self, picture: Size) -> Size {
        let (height, width) = best_resolution(picture, &self.pinpoints);
        (height / self.side, width / self.side)
    }
}

/// The resolution that keeps most of the picture's pixels, and among equals the one that wastes least.
fn best_resolution((height, width): Size, resolutions: &[Size]) -> Size {
    let mut best = (0, usize::MAX, (0, 0));
    for &(to_height, to_width) in resolutions {
        let scale = (to_width as f64 / width as f64).min(to_height as f64 / height as f64);
        let scaled = |side: usize| (side as f64 * scale) as usize;
        let effective = (scaled(width) * scaled(height)).min(width * height);
        let wasted = to_width * to_height - effective;
        if effective > best.0 || (effective == best.0 && wasted < best.1) {
            best = (effective, wasted, (to_height, to_width));
        }
    }
    best.2
}

/// The size of the picture when it is scaled to fit into `target`.
fn fitted((height, width): Size, target: Size) -> Size {
    let (across, down) = (target.1 as f64 / width as f64, target.0 as f64 / height as f64);
    if across < down {
        (((height as f64 * across).ceil() as usize).min(target.0), target.1)
    } else {
        (target.0, ((width as f64 * down).ceil() as usize).min(target.1))
    }
}

/// The rows and columns of a `grid` of features that show the picture and not the padding around it.
fn unpadded((height, width): Size, grid: Size) -> (Range<usize>, Range<usize>) {
    // The padding is rounded to seven digits before it is truncated, so that 23.999999999 counts as 24.
    let truncated = |x: f64| ((x * 1e7).round() / 1e7) as usize;
    let centred = |all: usize, kept: usize| {
        let padding = (all - kept.min(all)) / 2;
        padding..all - padding
    };
    if width as f64 / height as f64 > grid.1 as f64 / grid.0 as f64 {
        let kept = truncated(height as f64 * (grid.1 as f64 / width as f64));
        (centred(grid.0, kept), 0..grid.1)
    } else {
        let kept = truncated(width as f64 * (grid.0 as f64 / height as f64));
        (0..grid.0, centred(grid.1, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINPOINTS: [Size; 5] = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)];

    /// Compares with transformers' `select_best_resolution` and `get_patch_output_size`.
    #[test]
    fn pictures_go_where_most_of_them_survives() {
        let cases = [
            ((1, 1), (336, 672), (336, 336)),
            ((480, 640), (672, 672), (504, 672)),
            ((3000, 20), (1008, 336), (1008, 7)),
            ((20, 3000), (336, 1008), (7, 1008)),
            ((300, 900), (336, 1008), (336, 1008)),
            ((1000, 333), (1008, 336), (1008, 336)),
        ];
        for (picture, best, size) in cases {
            assert_eq!(best_resolution(picture, &PINPOINTS), best, "{picture:?}");
            assert_eq!(fitted(picture, best), size, "{picture:?}");
        }
    }

    /// Covers both axes; candle's port is wrong on the second.
    #[test]
    fn padding_is_taken_off_either_axis() {
        assert_eq!(unpadded((480, 640), (48, 48)), (6..42, 0..48));
        assert_eq!(unpadded((640, 480), (48, 48)), (0..48, 6..42));
        assert_eq!(unpadded((100, 300), (24, 48)), (4..20, 0..48));
        // A strip too narrow for a single column leaves only the row ends.
        assert_eq!(unpadded((3000, 20), (72, 24)), (0..72, 12..12));
    }

    #[test]
    fn lines_run_across_tiles() {
        let anyres = Anyres { pinpoints: vec![(2, 4)], side: 2, grid: 2, newline: vec![-1.0] };
        // Features of the whole picture are 0 to 3, of the left tile 4 to 7, of the right one 8 to 11.
        let features: Vec<f32> = (0..12).map(|feature| feature as f32).collect();
        let packed = anyres.pack(&features, (50, 100));
        let expected = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 9.0, -1.0, 6.0, 7.0, 10.0, 11.0, -1.0];
        assert_eq!(packed.data(), expected);
        assert_eq!((packed.tiles(), packed.advance()), (&[0..4, 4..14][..], 14));
    }
}
