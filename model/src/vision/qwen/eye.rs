//! From pictures to visual tokens with Qwen2.5-VL's tower.

use std::ops::Range;

use crate::checkpoint::{QwenConfig, QwenProcessor, Weights};
use crate::error::Result;
use crate::vision::eye::present;
use crate::vision::picture::Picture;
use crate::vision::qwen::grid::Grid;
use crate::vision::qwen::layout::Layout;
use crate::vision::qwen::patches::patches;
use crate::vision::qwen::tower::Tower;
use crate::vision::tokens::VisualTokens;

/// Visual tokens that the tower makes in one pass, if a single picture has no more. Enough rows to be fast.
const TOKENS_AT_ONCE: usize = 1024;

/// The vision side of a Qwen2.5-VL.
#[derive(Clone, Debug)]
pub(crate) struct QwenEye {
    config: QwenConfig,
    processor: QwenProcessor,
    tower: Tower,
}

impl QwenEye {
    pub fn load(weights: &Weights, config: &QwenConfig) -> Result<QwenEye> {
        let processor = present(&config.processor)?;
        Ok(QwenEye { config: config.clone(), processor, tower: Tower::load(weights, config)? })
    }

    /// [patches, 3 * time * patch * patch]
    pub fn pixel_values(&self, picture: &Picture) -> Result<Vec<f32>> {
        Ok(patches(&self.processor, &self.config, picture, self.grid(picture)?))
    }

    /// The visual tokens of each picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        let grids: Vec<Grid> = pictures.iter().map(|picture| self.grid(picture)).collect::<Result<_>>()?;
        let mut visual = Vec::with_capacity(pictures.len());
        for batch in batches(&grids) {
            visual.extend(self.see_batch(&pictures[batch.clone()], &grids[batch])?);
        }
        Ok(visual)
    }

    fn see_batch(&self, pictures: &[Picture], grids: &[Grid]) -> Result<Vec<VisualTokens>> {
        let layout = Layout::new(grids, self.config.window());
        let each = pictures.iter().zip(grids);
        let pixels: Vec<f32> =
            each.flat_map(|(picture, grid)| patches(&self.processor, &self.config, picture, *grid)).collect();
        let features = self.tower.forward(in_order(&pixels, &layout), &layout)?.flatten_all()?.to_vec1::<f32>()?;
        let width = self.config.out;
        let mut by_line = vec![0.0; features.len()];
        for (row, token) in features.chunks_exact(width).zip(&layout.tokens) {
            by_line[token * width..][..width].copy_from_slice(row);
        }
        let visual = layout.pictures.iter().zip(grids).map(|(range, grid)| {
            let rows = by_line[range.start * width..range.end * width].to_vec();
            VisualTokens::in_grid(rows, width, grid.columns)
        });
        Ok(visual.collect())
    }

    fn grid(&self, picture: &Picture) -> Result<Grid> {
        let bounds = self.processor.bounds;
        Ok(Grid::of(picture, &self.config, (bounds.min, bounds.max))?)
    }
}

/// The patches of each token, brought into the layout's order.
fn in_order(pixels: &[f32], layout: &Layout) -> Vec<f32> {
    let of_token = pixels.len() / layout.tokens.len();
    layout.tokens.iter().flat_map(|token| &pixels[token * of_token..][..of_token]).copied().collect()
}

/// Runs of pictures that go through the tower together.
fn batches(grids: &[Grid]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (picture, grid) in grids.iter().enumerate() {
        tokens += grid.tokens();
        match batches.last_mut() {
            Some(batch) if tokens <= TOKENS_AT_ONCE => batch.end = picture + 1,
            _ => {
                tokens = grid.tokens();
                batches.push(picture..picture + 1);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_go_together_and_large_ones_alone() {
        let line = |columns| Grid { rows: 1, columns };
        let grids = [600, 424, 1, 5000, 3, 4].map(line);
        assert_eq!(batches(&grids), [0..2, 2..3, 3..4, 4..6]);
        assert!(batches(&[]).is_empty());
    }
}
