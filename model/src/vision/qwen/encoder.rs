//! From pictures to visual tokens with Qwen2.5-VL's tower.

use std::ops::Range;

use secateur_pruning::PictureView;

use crate::checkpoint::{QwenConfig, QwenProcessor, Weights};
use crate::error::Result;
use crate::vision::picture::Picture;
use crate::vision::processor::present;
use crate::vision::qwen::distinct::distinct;
use crate::vision::qwen::grid::Grid;
use crate::vision::qwen::layout::Layout;
use crate::vision::qwen::patches::{patches, scaled};
use crate::vision::qwen::tower::Tower;
use crate::vision::tokens::VisualTokens;

/// Visual tokens that the tower computes in one pass, unless a single picture has more. Enough rows for full speed.
const TOKENS_AT_ONCE: usize = 1024;

/// The vision side of a Qwen2.5-VL.
#[derive(Clone, Debug)]
pub(crate) struct QwenEncoder {
    config: QwenConfig,
    processor: QwenProcessor,
    tower: Tower,
}

impl QwenEncoder {
    pub fn load(weights: &Weights, config: &QwenConfig) -> Result<QwenEncoder> {
        let processor = present(&config.processor)?;
        Ok(QwenEncoder { config: config.clone(), processor, tower: Tower::load(weights, config)? })
    }

    /// The tower's input, [patches, 3 * time * patch * patch].
    pub fn pixel_values(&self, picture: &Picture) -> Result<Vec<f32>> {
        Ok(self.show(picture, self.grids(picture)?).1)
    }

    /// The visual tokens of each picture.
    pub fn see(&self, pictures: &[Picture]) -> Result<Vec<VisualTokens>> {
        let grids: Vec<Grids> = pictures.iter().map(|picture| self.grids(picture)).collect::<Result<_>>()?;
        let tokens: Vec<usize> = grids.iter().map(|grids| grids.shown.tokens()).collect();
        let mut visual = Vec::with_capacity(pictures.len());
        for batch in batches(&tokens) {
            visual.extend(self.see_batch(&pictures[batch.clone()], &grids[batch])?);
        }
        Ok(visual)
    }

    /// The visual tokens of pictures that go through the tower together. Patches exist for one batch at a time.
    fn see_batch(&self, pictures: &[Picture], grids: &[Grids]) -> Result<Vec<VisualTokens>> {
        let each = pictures.iter().zip(grids).map(|(picture, grids)| self.show(picture, *grids));
        let (shown, patches): (Vec<Shown>, Vec<Vec<f32>>) = each.unzip();
        let pixels: Vec<f32> = patches.into_iter().flatten().collect();
        let cells: Vec<(Grid, Vec<usize>)> = shown.iter().map(|shown| (shown.grid, shown.cells.clone())).collect();
        let layout = Layout::new(&cells, self.config.window());
        let features = self.tower.forward(in_order(&pixels, &layout), &layout)?.flatten_all()?.to_vec1::<f32>()?;
        let width = self.config.out;
        let mut by_line = vec![0.0; features.len()];
        for (row, token) in features.chunks_exact(width).zip(&layout.tokens) {
            by_line[token * width..][..width].copy_from_slice(row);
        }
        let visual = layout.pictures.iter().zip(&shown).map(|(range, shown)| {
            let rows = by_line[range.start * width..range.end * width].to_vec();
            let Grid { rows: lines, columns } = shown.grid;
            VisualTokens::in_grid(rows, width, (lines, columns), &shown.cells).out_of(shown.unpruned)
        });
        Ok(visual.collect())
    }

    fn grids(&self, picture: &Picture) -> Result<Grids> {
        let bounds = self.processor.bounds;
        let whole = Grid::of(picture, &self.config, (bounds.min, bounds.max))?;
        let shown = match picture.view() {
            PictureView::Smaller(share) => whole.shrunk(share),
            PictureView::Whole | PictureView::Distinct => whole,
        };
        Ok(Grids { whole, shown })
    }

    /// The part of a picture that the tower gets, and its patches, cell by cell.
    fn show(&self, picture: &Picture, Grids { whole, shown: grid }: Grids) -> (Shown, Vec<f32>) {
        let scaled = scaled(&self.processor, &self.config, picture, grid);
        let cells = match picture.view() {
            PictureView::Distinct => distinct(&scaled, grid, self.config.factor()),
            PictureView::Whole | PictureView::Smaller(_) => (0..grid.tokens()).collect(),
        };
        let patches = patches(&self.processor, &self.config, &scaled, cells.iter().map(|&cell| grid.cell(cell)));
        (Shown { grid, cells, unpruned: whole.tokens() }, patches)
    }
}

/// The grid of a whole picture, and the one at whose size the tower gets it.
#[derive(Clone, Copy)]
struct Grids {
    whole: Grid,
    shown: Grid,
}

/// A picture, or a part of it, at its grid's size.
struct Shown {
    grid: Grid,
    /// Cells that the tower gets, line by line, ascending.
    cells: Vec<usize>,
    /// Number of tokens of the whole picture.
    unpruned: usize,
}

/// The patches of each token, in the layout's order.
fn in_order(pixels: &[f32], layout: &Layout) -> Vec<f32> {
    let of_token = pixels.len() / layout.tokens.len();
    layout.tokens.iter().flat_map(|token| &pixels[token * of_token..][..of_token]).copied().collect()
}

/// Groups consecutive pictures that go through the tower together, given the tokens of each at most.
fn batches(pictures: &[usize]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (picture, &own) in pictures.iter().enumerate() {
        tokens += own;
        match batches.last_mut() {
            Some(batch) if tokens <= TOKENS_AT_ONCE => batch.end = picture + 1,
            _ => {
                tokens = own;
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
        assert_eq!(batches(&[600, 424, 1, 5000, 3, 4]), [0..2, 2..3, 3..4, 4..6]);
        assert!(batches(&[]).is_empty());
    }
}
