//! A picture to rows of numbers, one row per patch (transformers' `Qwen2VLImageProcessor`).

use crate::checkpoint::{QwenConfig, QwenProcessor};
use crate::vision::picture::Picture;
use crate::vision::qwen::grid::Grid;
use crate::vision::resample::resize;

/// [patches, 3 * time * patch * patch]: the patches of one visual token after the other, tokens line by line. A still
/// picture fills all of a patch's time with the same pixels.
pub(crate) fn patches(processor: &QwenProcessor, config: &QwenConfig, picture: &Picture, grid: Grid) -> Vec<f32> {
    let (patch, merge, factor) = (config.patch_size, config.merge_size, config.factor());
    let (height, width) = (grid.rows * factor, grid.columns * factor);
    let scaled = resize(picture.pixels(), (height, width), processor.filter);
    let tables = [0, 1, 2].map(|channel| processor.scale.table(channel));
    let mut rows = Vec::with_capacity(height * width * 3 * config.temporal_patch_size);
    for (top, left) in corners(grid, merge) {
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

/// Row and column of each patch, in their order.
pub(crate) fn corners(grid: Grid, merge: usize) -> impl Iterator<Item = (usize, usize)> {
    let tokens = (0..grid.tokens()).map(move |token| (token / grid.columns, token % grid.columns));
    tokens.flat_map(move |token| within(token, merge))
}

/// Row and column of each patch of one visual token.
pub(crate) fn within((row, column): (usize, usize), merge: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..merge * merge).map(move |patch| (row * merge + patch / merge, column * merge + patch % merge))
}
