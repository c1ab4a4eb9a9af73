//! CLIP's image processor: converts a picture of any size to the tower's input.

use std::ops::Range;

use crate::checkpoint::{ClipProcessor, Resize, Scale, Target};
use crate::vision::picture::Picture;
use crate::vision::resample::{Filter, Pixels, resize_window};

impl ClipProcessor {
    /// This processor for a tower input of `to` pixels along each side instead of `from`.
    pub fn smaller(&self, from: usize, to: usize) -> ClipProcessor {
        let side = |pixels: usize| (pixels * to / from).max(1);
        let target = |target: Target| match target {
            Target::Exact { height, width } => Target::Exact { height: side(height), width: side(width) },
            Target::ShortestEdge(edge) => Target::ShortestEdge(side(edge)),
        };
        // A processor that does not resize expects pictures of the tower's size.
        let unscaled = Resize { target: Target::Exact { height: to, width: to }, filter: Filter::Bicubic };
        let resize = self.resize.map_or(unscaled, |resize| Resize { target: target(resize.target), ..resize });
        let center_crop = self.resize.and(self.center_crop).map(|(height, width)| (side(height), side(width)));
        ClipProcessor { resize: Some(resize), center_crop, scale: self.scale }
    }

    /// Pixel values [3, height, width], laid out as transformers' `pixel_values` of one picture.
    pub fn apply(&self, picture: &Picture) -> Vec<f32> {
        let whole = (picture.height(), picture.width());
        let resized = self.resize.map_or(whole, |resize| resized(resize.target, whole));
        let (height, width) = self.center_crop.unwrap_or(resized);
        let (rows, columns) = (Line::center(resized.0, height), Line::center(resized.1, width));
        let window = (rows.source(), columns.source());
        let seen = match self.resize {
            Some(resize) => resize_window(picture.pixels(), resized, window, resize.filter),
            None => cut(&picture.pixels(), window),
        };
        numbers(&self.scale, &seen, &rows.within(), &columns.within())
    }
}

/// Places a picture on black and converts its bytes to numbers: [3, rows, columns].
pub(crate) fn numbers(scale: &Scale, picture: &Pixels<'_>, rows: &Line, columns: &Line) -> Vec<f32> {
    let mut values = Vec::with_capacity(3 * rows.len * columns.len);
    for channel in 0..3 {
        let table = scale.table(channel);
        for row in 0..rows.len {
            for column in 0..columns.len {
                let at = rows.at(row).zip(columns.at(column));
                let byte = at.map_or(0, |(row, column)| picture.bytes[(row * picture.width + column) * 3 + channel]);
                values.push(table[usize::from(byte)]);
            }
        }
    }
    values
}

/// Height and width after resizing.
fn resized(target: Target, (height, width): (usize, usize)) -> (usize, usize) {
    match target {
        Target::Exact { height, width } => (height, width),
        Target::ShortestEdge(edge) => {
            let (short, long) = (height.min(width), height.max(width));
            // Computed in floating point and truncated, as in the reference.
            let long = ((edge * long) as f64 / short as f64) as usize;
            if width <= height { (long, edge) } else { (edge, long) }
        }
    }
}

/// Mapping of `len` output lines to the lines of a picture along one axis of length `from`.
pub(crate) struct Line {
    pub len: usize,
    pub from: usize,
    /// The picture line at output line 0; negative if padding comes first.
    pub start: isize,
}

impl Line {
    /// A centred mapping, which crops the picture or pads it.
    fn center(from: usize, len: usize) -> Line {
        // Rounded down, also below zero: an odd difference puts the larger half of the padding first.
        Line { len, from, start: (from as isize - len as isize).div_euclid(2) }
    }

    /// The part of the axis that is kept.
    fn source(&self) -> Range<usize> {
        let end = (self.start + self.len as isize).min(self.from as isize);
        self.start.max(0) as usize..end as usize
    }

    /// The same mapping relative to the kept part of the axis alone.
    fn within(&self) -> Line {
        Line { len: self.len, from: self.source().len(), start: self.start.min(0) }
    }

    /// The picture line at output line `at`; `None` in the padding.
    fn at(&self, at: usize) -> Option<usize> {
        usize::try_from(self.start + at as isize).ok().filter(|line| *line < self.from)
    }
}

/// Copies a window of the picture, for processors that do not resize.
fn cut(pixels: &Pixels<'_>, (rows, columns): (Range<usize>, Range<usize>)) -> Pixels<'static> {
    let (height, width) = (rows.len(), columns.len());
    let line = |row: usize| &pixels.bytes[(row * pixels.width + columns.start) * 3..][..width * 3];
    let bytes: Vec<u8> = rows.flat_map(line).copied().collect();
    Pixels { bytes: bytes.into(), height, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor that only crops: its values are the bytes themselves.
    fn cropper(height: usize, width: usize) -> ClipProcessor {
        let scale = Scale { rescale: None, normalize: None };
        ClipProcessor { resize: None, center_crop: Some((height, width)), scale }
    }

    /// One row of pixels whose red values are 1, 2, ...
    fn row(width: usize) -> Picture {
        let bytes = (1..=width).flat_map(|red| [red as u8, 0, 0]).collect();
        Picture::from_rgb(width as u32, 1, bytes).unwrap()
    }

    fn red(values: &[f32]) -> &[f32] {
        &values[..values.len() / 3]
    }

    #[test]
    fn the_crop_is_centred_and_rounds_towards_the_start() {
        assert_eq!(red(&cropper(1, 3).apply(&row(6))), [2.0, 3.0, 4.0]);
        assert_eq!(red(&cropper(1, 2).apply(&row(6))), [3.0, 4.0]);
    }

    #[test]
    fn a_small_picture_is_padded_with_black_more_in_front() {
        assert_eq!(red(&cropper(1, 5).apply(&row(2))), [0.0, 0.0, 1.0, 2.0, 0.0]);
        assert_eq!(red(&cropper(2, 2).apply(&row(4))), [0.0, 0.0, 2.0, 3.0]);
    }

    #[test]
    fn the_longer_side_is_truncated() {
        assert_eq!(resized(Target::ShortestEdge(32), (20, 300)), (32, 480));
        assert_eq!(resized(Target::ShortestEdge(32), (100, 30)), (106, 32));
        assert_eq!(resized(Target::ShortestEdge(32), (1, 1)), (32, 32));
    }
}
