//! The CLIP vision tower, as far as its features are used.

use candle_core::{Device, Tensor};

use crate::checkpoint::{FeatureSelect, VisionConfig, Weights};
use crate::error::Result;
use crate::float::FloatType;
use crate::vision::clip_layer::ClipLayer;
use crate::vision::layer_norm::LayerNorm;

/// Patch embedding and the layers up to the one whose output is used.
#[derive(Clone, Debug)]
pub(crate) struct Clip {
    /// [1, hidden]
    class: Tensor,
    /// [hidden, 3 * patch * patch], the convolution's kernel flattened: with stride equal to size it is one product.
    patches: Tensor,
    /// [1 + grid * grid, hidden]
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<ClipLayer>,
    grid: usize,
    patch: usize,
    select: FeatureSelect,
    compute: FloatType,
    device: Device,
}

impl Clip {
    pub fn load(weights: &Weights, config: &VisionConfig, compute: FloatType, device: &Device) -> Result<Clip> {
        let (hidden, patch, grid) = (config.hidden, config.patch_size, config.grid());
        let kernel = weights.tensor("vision.embeddings.patch_embedding.weight", &[hidden, 3, patch, patch])?;
        let layers = (0..config.layers_run).map(|layer| ClipLayer::load(weights, layer, config));
        let positions = &[grid * grid + 1, hidden];
        Ok(Clip {
            class: weights.tensor("vision.embeddings.class_embedding", &[hidden])?.unsqueeze(0)?,
            patches: kernel.flatten_from(1)?,
            positions: weights.tensor("vision.embeddings.position_embedding.weight", positions)?,
            // The checkpoints do spell it so.
            norm: LayerNorm::load(weights, "vision.pre_layrnorm", hidden, config.norm_epsilon)?,
            layers: layers.collect::<Result<_>>()?,
            grid,
            patch,
            select: config.select,
            compute,
            device: device.clone(),
        })
    }

    /// Features of one picture; pixels: [3, side, side] -> [visual tokens, hidden].
    pub fn forward(&self, pixels: &[f32]) -> candle_core::Result<Tensor> {
        let embedded = self.to_patches(pixels)?.matmul(&self.patches.t()?)?; // [grid * grid, hidden]
        let rows = Tensor::cat(&[&self.class, &embedded], 0)?;
        let mut x = self.norm.forward(&(rows + &self.positions)?)?; // [1 + grid * grid, hidden]
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        match self.select {
            FeatureSelect::Full => Ok(x),
            FeatureSelect::Default => x.narrow(0, 1, self.grid * self.grid),
        }
    }

    /// [3, side, side] -> [grid * grid, 3 * patch * patch]: one row per patch, in the kernel's order.
    fn to_patches(&self, pixels: &[f32]) -> candle_core::Result<Tensor> {
        let (grid, patch) = (self.grid, self.patch);
        let squares = Tensor::from_slice(pixels, (3, grid, patch, grid, patch), &self.device)?;
        // channel, patch row, row, patch column, column -> patch row, patch column, channel, row, column
        let rows = squares.permute((1, 3, 0, 2, 4))?.reshape((grid * grid, 3 * patch * patch))?;
        rows.to_dtype(self.compute.candle())
    }
}
