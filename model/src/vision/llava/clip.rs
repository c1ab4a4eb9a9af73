//! The CLIP vision tower, up to the layer whose features are used.

use std::ops::Range;

use candle_core::Tensor;

use crate::checkpoint::{ClipConfig, FeatureSelect, Weights};
use crate::error::Result;
use crate::vision::llava::clip_layer::ClipLayer;
use crate::vision::llava::layer_norm::LayerNorm;
use crate::vision::llava::positions::interpolated;

/// Patch embedding and the layers up to the one whose output is used.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    /// Class embedding, [1, hidden].
    class: Tensor,
    /// Patch embedding, [hidden, 3 * patch * patch], the flattened convolution kernel: with stride equal to size it is
    /// one product.
    patches: Tensor,
    /// Position embeddings, [1 + grid * grid, hidden].
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<ClipLayer>,
    grid: usize,
    patch: usize,
    select: FeatureSelect,
}

impl Clip {
    pub fn load(weights: &Weights, config: &ClipConfig) -> Result<Clip> {
        let (hidden, patch, grid) = (config.hidden, config.patch_size, config.grid());
        let kernel = weights.tensor("vision.embeddings.patch_embedding.weight", &[hidden, 3, patch, patch])?;
        let layers = (0..config.layers_run).map(|layer| ClipLayer::load(weights, layer, config));
        let positions = &[grid * grid + 1, hidden];
        Ok(Clip {
            class: weights.tensor("vision.embeddings.class_embedding", &[hidden])?.unsqueeze(0)?,
            patches: kernel.flatten_from(1)?,
            positions: weights.tensor("vision.embeddings.position_embedding.weight", positions)?,
            // The misspelling is the checkpoints' own.
            norm: LayerNorm::load(weights, "vision.pre_layrnorm", hidden, config.norm_epsilon)?,
            layers: layers.collect::<Result<_>>()?,
            grid,
            patch,
            select: config.select,
        })
    }

    /// Number of feature rows of one tile at the size that the tower was trained with.
    pub fn tokens(&self) -> usize {
        self.kept(self.grid).len()
    }

    /// Patches along each side of a tile at the size that the tower was trained with.
    pub fn grid(&self) -> usize {
        self.grid
    }

    /// Pixels along each side of a tile with `grid` patches along each side.
    pub fn side(&self, grid: usize) -> usize {
        grid * self.patch
    }

    /// Features of tiles, each [3, side, side] with `grid` patches along each side, in one pass: the linear maps
    /// process all rows at once, attention each tile by itself -> [tiles * tokens, hidden].
    pub fn forward(&self, tiles: &[Vec<f32>], grid: usize) -> candle_core::Result<Tensor> {
        let rows = 1 + grid * grid;
        let positions = interpolated(&self.positions, self.grid, grid)?;
        let embed = |tile: &Vec<f32>| self.embed(tile, grid)? + &positions;
        let embedded: Vec<Tensor> = tiles.iter().map(embed).collect::<candle_core::Result<_>>()?;
        let ranges: Vec<Range<usize>> = (0..tiles.len()).map(|tile| tile * rows..(tile + 1) * rows).collect();
        let mut x = self.norm.forward(&Tensor::cat(&embedded, 0)?)?; // [tiles * rows, hidden]
        for layer in &self.layers {
            x = layer.forward(&x, &ranges)?;
        }
        let (_, hidden) = x.dims2()?;
        let (by_tile, kept) = (x.reshape((tiles.len(), rows, hidden))?, self.kept(grid));
        by_tile.narrow(1, kept.start, kept.len())?.reshape((tiles.len() * kept.len(), hidden))
    }

    /// The rows of a tile that are used; row 0 is the class token.
    fn kept(&self, grid: usize) -> Range<usize> {
        let end = 1 + grid * grid;
        match self.select {
            FeatureSelect::Full => 0..end,
            FeatureSelect::Default => 1..end,
        }
    }

    /// Embeds pixels, [3, side, side] -> [1 + grid * grid, hidden], without positions.
    fn embed(&self, pixels: &[f32], grid: usize) -> candle_core::Result<Tensor> {
        let embedded = self.to_patches(pixels, grid)?.matmul(&self.patches.t()?)?; // [grid * grid, hidden]
        Tensor::cat(&[&self.class, &embedded], 0)
    }

    /// Rearranges pixels, [3, side, side] -> [grid * grid, 3 * patch * patch]: one row per patch, in the kernel's
    /// order.
    fn to_patches(&self, pixels: &[f32], grid: usize) -> candle_core::Result<Tensor> {
        let patch = self.patch;
        let squares = Tensor::from_slice(pixels, (3, grid, patch, grid, patch), self.class.device())?;
        // channel, patch row, row, patch column, column -> patch row, patch column, channel, row, column
        squares.permute((1, 3, 0, 2, 4))?.reshape((grid * grid, 3 * patch * patch))
    }
}
