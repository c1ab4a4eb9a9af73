//! Pillow's `Image.resize`, bit for bit, computed only for the window that is used afterwards.
//!
//! Two passes, horizontal and vertical, each an antialiased convolution in fixed point with rounding to 8 bits in
//! between (Pillow's `src/libImaging/Resample.c`). Answers must equal the reference's, and a different rounding here
//! would sooner or later change a token. A picture one pixel high and a million wide is scaled to a strip of which the
//! crop keeps a few columns; only those are computed, so that the cost of a picture is bounded by its own size.

use std::ops::Range;

/// Pillow's filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

/// Fractional bits of a weight: 32, less 8 for the pixel and 2 for sums above 1 and the sign.
const PRECISION_BITS: u32 = 32 - 8 - 2;
const CHANNELS: usize = 3;

/// Pixels [height, width, 3], 8 bits each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pixels<'a> {
    pub bytes: std::borrow::Cow<'a, [u8]>,
    pub height: usize,
    pub width: usize,
}

/// The weights that combine input lines `first`, `first + 1`, ... into one output line.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The window (`rows`, `columns`) of `picture` resized to `height` x `width`.
pub(crate) fn resize_window<'a>(
    picture: Pixels<'a>,
    (height, width): (usize, usize),
    (rows, columns): (Range<usize>, Range<usize>),
    filter: Filter,
) -> Pixels<'a> {
    let vertical = taps(picture.height, height, rows, filter);
    let horizontal = taps(picture.width, width, columns, filter);
    // The first pass computes only the lines that the second one reads.
    if is_down_first(&picture, height, width) {
        let read = lines_read(&horizontal);
        let short = down(&picture, read.clone(), 0, &vertical);
        across(&short, 0..short.height, read.start, &horizontal)
    } else {
        let read = lines_read(&vertical);
        let narrow = across(&picture, read.clone(), 0, &horizontal);
        down(&narrow, 0..narrow.width, read.start, &vertical)
    }
}

/// The whole picture, resized to `height` x `width`.
pub(crate) fn resize<'a>(picture: Pixels<'a>, (height, width): (usize, usize), filter: Filter) -> Pixels<'a> {
    resize_window(picture, (height, width), (0..height, 0..width), filter)
}

/// Whether the vertical pass comes first, which changes the last bit because of the rounding in between. This is
/// Pillow's rule since version 13; earlier versions always did the horizontal pass first.
fn is_down_first(picture: &Pixels<'_>, height: usize, width: usize) -> bool {
    let lost = |from: usize, to: usize| from as i128 - to as i128;
    let rows_lost = lost(picture.height, height);
    rows_lost > 0 && rows_lost > 2 * lost(picture.width, width)
}

/// The range of input lines that a pass reads.
fn lines_read(taps: &[Taps]) -> Range<usize> {
    let first = taps.iter().map(|taps| taps.first).min();
    let end = taps.iter().map(|taps| taps.first + taps.weights.len()).max();
    first.unwrap_or(0)..end.unwrap_or(0)
}

/// The weights of the output lines `wanted`, out of `output` lines computed from `input` lines.
fn taps(input: usize, output: usize, wanted: Range<usize>, filter: Filter) -> Vec<Taps> {
    if input == output {
        // Pillow leaves out a pass that does not change the size.
        return wanted.map(|line| Taps { first: line, weights: vec![1 << PRECISION_BITS] }).collect();
    }
    let scale = input as f64 / output as f64;
    // Shrinking widens the filter, which is the antialiasing.
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    let line_taps = |line: usize| {
        let center = (line as f64 + 0.5) * scale;
        // Truncated towards zero, as a C cast does.
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weight = |at: usize| filter.weight((at as f64 - center + 0.5) * (1.0 / widening));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let norm = |weight: f64| if sum != 0.0 { weight / sum } else { weight };
        Taps { first, weights: weights.into_iter().map(|weight| fixed_point(norm(weight))).collect() }
    };
    wanted.map(line_taps).collect()
}

/// Converts a weight to fixed point, rounding half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// Horizontal pass over the rows `rows`: one column for each of `taps`, which count columns from `origin`.
fn across(picture: &Pixels<'_>, rows: Range<usize>, origin: usize, taps: &[Taps]) -> Pixels<'static> {
    let line_len = picture.width * CHANNELS;
    let height = rows.len();
    let mut bytes = Vec::with_capacity(height * taps.len() * CHANNELS);
    for row in rows {
        let line = &picture.bytes[row * line_len..][..line_len];
        for taps in taps {
            let mut sums = [1i32 << (PRECISION_BITS - 1); CHANNELS];
            let pixels = line[(taps.first - origin) * CHANNELS..].chunks_exact(CHANNELS);
            for (pixel, weight) in pixels.zip(&taps.weights) {
                for (sum, channel) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*channel) * weight;
                }
            }
            bytes.extend(sums.map(clip));
        }
    }
    Pixels { bytes: bytes.into(), height, width: taps.len() }
}

/// Vertical pass over the columns `columns`: one row for each of `taps`, which count rows from `origin`.
fn down(picture: &Pixels<'_>, columns: Range<usize>, origin: usize, taps: &[Taps]) -> Pixels<'static> {
    let line_len = picture.width * CHANNELS;
    let wanted = columns.start * CHANNELS..columns.end * CHANNELS;
    let mut bytes = Vec::with_capacity(taps.len() * wanted.len());
    let mut sums = vec![0i32; wanted.len()];
    for taps in taps {
        sums.fill(1 << (PRECISION_BITS - 1));
        let lines = picture.bytes[(taps.first - origin) * line_len..].chunks_exact(line_len);
        for (line, weight) in lines.zip(&taps.weights) {
            for (sum, channel) in sums.iter_mut().zip(&line[wanted.clone()]) {
                *sum += i32::from(*channel) * weight;
            }
        }
        bytes.extend(sums.iter().map(|sum| clip(*sum)));
    }
    Pixels { bytes: bytes.into(), height: taps.len(), width: columns.len() }
}

fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

impl Filter {
    /// The filter with that number in Pillow's `Resampling`; 0, nearest, is no convolution and not supported.
    pub fn from_number(number: u64) -> Option<Filter> {
        match number {
            1 => Some(Filter::Lanczos),
            2 => Some(Filter::Bilinear),
            3 => Some(Filter::Bicubic),
            4 => Some(Filter::Box),
            5 => Some(Filter::Hamming),
            _ => None,
        }
    }

    /// Distance from the centre beyond which the weight is zero.
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear | Filter::Hamming => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, at: f64) -> f64 {
        let x = at.abs();
        match self {
            Filter::Box => f64::from(u8::from(at > -0.5 && at <= 0.5)),
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Hamming if x == 0.0 => 1.0,
            Filter::Hamming if x >= 1.0 => 0.0,
            Filter::Hamming => {
                let angle = x * std::f64::consts::PI;
                angle.sin() / angle * (0.54 + 0.46 * angle.cos())
            }
            Filter::Bicubic => bicubic(x),
            Filter::Lanczos if (-3.0..3.0).contains(&at) => sinc(at) * sinc(at / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

/// Keys' cubic convolution kernel with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let angle = x * std::f64::consts::PI;
    angle.sin() / angle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(height: usize, width: usize) -> Pixels<'static> {
        let byte = |at: usize| ((at * 2_654_435_761) >> 7) as u8;
        Pixels { bytes: (0..height * width * CHANNELS).map(byte).collect(), height, width }
    }

    #[test]
    fn an_unchanged_size_changes_nothing() {
        let picture = pixels(5, 7);
        let same = resize_window(picture.clone(), (5, 7), (0..5, 0..7), Filter::Bicubic);
        assert_eq!(same, picture);
    }

    /// Covers both orders of the passes.
    #[test]
    fn a_window_is_a_part_of_the_whole() {
        for filter in [Filter::Bicubic, Filter::Lanczos, Filter::Bilinear, Filter::Box, Filter::Hamming] {
            for (picture, down_first) in [(pixels(9, 40), false), (pixels(90, 12), true)] {
                assert_eq!(is_down_first(&picture, 20, 11), down_first);
                let whole = resize_window(picture.clone(), (20, 11), (0..20, 0..11), filter);
                let part = resize_window(picture, (20, 11), (3..17, 4..9), filter);
                for row in 0..14 {
                    let from_whole = &whole.bytes[((row + 3) * 11 + 4) * CHANNELS..][..5 * CHANNELS];
                    assert_eq!(&part.bytes[row * 5 * CHANNELS..][..5 * CHANNELS], from_whole, "{filter:?}");
                }
            }
        }
    }

    #[test]
    fn going_down_first_needs_more_than_twice_as_many_rows_lost_as_columns() {
        let is_down_first =
            |(height, width), (to_height, to_width)| is_down_first(&pixels(height, width), to_height, to_width);
        assert!(is_down_first((41, 20), (20, 10)) && !is_down_first((40, 20), (20, 10)));
        assert!(is_down_first((21, 10), (20, 30)) && !is_down_first((20, 10), (21, 30)));
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = Pixels { bytes: vec![77; 3 * 50 * 31].into(), height: 50, width: 31 };
        let small = resize_window(flat, (8, 9), (0..8, 0..9), Filter::Bicubic);
        assert!(small.bytes.iter().all(|byte| *byte == 77));
    }

    #[test]
    fn a_strip_costs_no_more_than_its_window() {
        let strip = pixels(1, 1_000_000);
        let middle = 168_000_000 - 168;
        let seen = resize_window(strip, (336, 336_000_000), (0..336, middle..middle + 336), Filter::Bicubic);
        assert_eq!((seen.height, seen.width), (336, 336));
    }
}
