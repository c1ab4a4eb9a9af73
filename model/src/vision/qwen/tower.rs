//! Qwen2.5-VL's vision tower.

use std::ops::Range;

use candle_core::Tensor;

use crate::checkpoint::{QwenConfig, Weights};
use crate::error::Result;
use crate::vision::qwen::block::{Block, Rotation};
use crate::vision::qwen::layout::Layout;
use crate::vision::qwen::merger::Merger;
use crate::vision::qwen::patches::within;

/// Patch embedding, blocks and merger.
#[derive(Clone, Debug)]
pub(crate) struct Tower {
    /// Patch embedding, [hidden, 3 * time * patch * patch], the flattened convolution kernel: stride equals size, so it
    /// is one product.
    patches: Tensor,
    blocks: Vec<Block>,
    /// For each block, whether a patch attends to its whole picture.
    sees_all: Vec<bool>,
    merger: Merger,
    /// Angle that each pair rotates by from one row of patches, or column, to the next.
    frequencies: Vec<f32>,
    merge: usize,
}

impl Tower {
    pub fn load(weights: &Weights, config: &QwenConfig) -> Result<Tower> {
        let (time, patch) = (config.temporal_patch_size, config.patch_size);
        let kernel = weights.tensor("vision.patch_embed.proj.weight", &[config.hidden, 3, time, patch, patch])?;
        let blocks = (0..config.layers).map(|block| Block::load(weights, block, config));
        Ok(Tower {
            patches: kernel.flatten_from(1)?,
            blocks: blocks.collect::<Result<_>>()?,
            sees_all: (0..config.layers).map(|block| config.full_attention.contains(&block)).collect(),
            merger: Merger::load(weights, config)?,
            frequencies: frequencies(config),
            merge: config.merge_size,
        })
    }

    /// Runs the tower. pixels: [patches, 3 * time * patch * patch] of all pictures -> [tokens, out], both in the
    /// layout's order.
    pub fn forward(&self, pixels: Vec<f32>, layout: &Layout) -> candle_core::Result<Tensor> {
        let (_, inputs) = self.patches.dims2()?;
        let rows = layout.tokens.len() * self.merge * self.merge;
        let pixels = Tensor::from_vec(pixels, (rows, inputs), self.patches.device())?;
        let rotation = self.rotation(layout)?;
        let (windows, pictures) = (self.of_patches(&layout.windows), self.of_patches(&layout.pictures));
        let mut x = pixels.matmul(&self.patches.t()?)?; // [patches, hidden]
        for (block, sees_all) in self.blocks.iter().zip(&self.sees_all) {
            x = block.forward(&x, &rotation, if *sees_all { &pictures } else { &windows })?;
        }
        self.merger.forward(&x)
    }

    /// Converts ranges of tokens to ranges of their patches.
    fn of_patches(&self, tokens: &[Range<usize>]) -> Vec<Range<usize>> {
        let each = self.merge * self.merge;
        tokens.iter().map(|range| range.start * each..range.end * each).collect()
    }

    /// Rotary cosines and sines. The first half of a head's pairs rotate by the patch's row, the others by its column.
    fn rotation(&self, layout: &Layout) -> candle_core::Result<Rotation> {
        let patches = layout.cells.iter().flat_map(|cell| within(*cell, self.merge));
        let angles = patches.flat_map(|(row, column)| {
            [row, column].into_iter().flat_map(|at| self.frequencies.iter().map(move |frequency| at as f32 * frequency))
        });
        let angles: Vec<f32> = angles.collect();
        let pairs = 2 * self.frequencies.len();
        let angles =
            Tensor::from_vec(angles, (layout.cells.len() * self.merge * self.merge, pairs), self.patches.device())?;
        Ok(Rotation { cos: angles.cos()?, sin: angles.sin()? })
    }
}

/// Rotary frequencies, one for every four numbers of a head.
fn frequencies(config: &QwenConfig) -> Vec<f32> {
    let half = config.hidden / config.heads / 2;
    let of_pair = |pair: usize| {
        let exponent = (2 * pair) as f32 / half as f32;
        1.0 / f64::from(config.rope_theta).powf(f64::from(exponent)) as f32
    };
    (0..half / 2).map(of_pair).collect()
}
