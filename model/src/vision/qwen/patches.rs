//! Converts a picture to rows of numbers, one row per patch (transformers' `Qwen2VLImageProcessor`).

use crate::checkpoint::{QwenConfig, QwenProcessor};
use crate::vision::picture::Picture;
use crate::vision::qwen::grid::Grid;
use crate::vision::resample::{Pixels, resize};

/// The picture, resized to its grid.
pub(crate) fn scaled<'a>(
    processor: &QwenProcessor,
    config: &QwenConfig,
    picture: &'a Picture,
    grid: Grid,
) -> Pixels<'a> {
    let size = (grid.rows * config.factor(), grid.columns * config.factor());
    resize(picture.pixels(), size, processor.filter)
}

/// Patches of the given cells, [patches, 3 * time * patch * patch]: the patches of one visual token after the other,
/// tokens in the order of `cells`. A still picture repeats the same pixels along a patch's time axis.
pub(crate) fn patches(
    processor: &QwenProcessor,
    config: &QwenConfig,
    scaled: &Pixels<'_>,
    cells: impl ExactSizeIterator<Item = (usize, usize)>,
) -> Vec<f32> {
    let (patch, merge, width) = (config.patch_size, config.merge_size, scaled.width);
    let tables = [0, 1, 2].map(|channel| processor.scale.table(channel));
    let numbers = config.factor() * config.factor() * 3 * config.temporal_patch_size;
    let mut rows = Vec::with_capacity(cells.len() * numbers);
    for (top, left) in cells.flat_map(|cell| within(cell, merge)) {
        for (channel, table) in tables.iter().enumerate() {
            let frame = rows.len();
            for y in top * patch..(top + 1) * patch {
                let line = &scaled.bytes[(y * width + left * patch) * 3..][..patch * 3];
                rows.extend(line.iter().skip(channel).step_by(3).map(|byte| table[usize::from(*byte)]));
            }
            for _ in 1..config.temporal_patch_size {
                rows.extend_from_within(frame..frame + patch * patch);
            }
        }
    }
    rows
}

/// Row and column of each patch of one visual token.
pub(crate) fn within((row, column): (usize, usize), merge: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..merge * merge).map(move |patch| (row * merge + patch / merge, column * merge + patch % merge))
}
