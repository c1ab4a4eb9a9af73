//! The language model: embedding, this stage's set of blocks, head.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};

use crate::checkpoint::{LanguageConfig, Weights};
use crate::error::{ModelError, Result};
use crate::float::FloatType;
use crate::kv::KvCache;
use crate::layer_kv::LayerKv;
use crate::linear::Linear;
use crate::llama::block::Block;
use crate::llama::norm::RmsNorm;
use crate::llama::rope::Rope;

/// A Llama without the blocks that its stage has removed.
#[derive(Clone, Debug)]
pub(crate) struct Llama {
    /// [vocab, hidden]
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Linear, // hidden -> vocab
    rope: Rope,
    compute: FloatType,
}

impl Llama {
    /// Loads everything but the `removed` blocks.
    pub fn load(
        weights: &Weights,
        config: &LanguageConfig,
        removed: &BTreeSet<usize>,
        compute: FloatType,
        device: &Device,
    ) -> Result<Llama> {
        let blocks = kept_layers(config.layers, removed)?
            .into_iter()
            .map(|layer| Block::load(weights, layer, config))
            .collect::<Result<Vec<_>>>()?;
        let embedding = weights.tensor("language.embed_tokens.weight", &[config.vocab, config.hidden])?;
        let head = match config.tied_embeddings {
            true => Linear::from_weight(embedding.clone()),
            false => Linear::load(weights, "lm_head", config.hidden, config.vocab, false)?,
        };
        Ok(Llama {
            embedding,
            blocks,
            norm: RmsNorm::load(weights, "language.norm", config.hidden, config.norm_epsilon)?,
            head,
            rope: Rope::new(config, compute, device)?,
            compute,
        })
    }

    /// Indices, in the checkpoint, of the blocks that are here.
    pub fn kept_layers(&self) -> Vec<usize> {
        self.blocks.iter().map(|block| block.layer).collect()
    }

    /// Input embeddings, [tokens, hidden]. Every id must be inside the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        let ids = Tensor::from_slice(tokens, tokens.len(), self.embedding.device())?;
        self.embedding.index_select(&ids, 0)
    }

    /// Runs a whole prompt, x: [tokens, hidden], at positions 0, 1, ... and returns the last position's logits.
    ///
    /// A block's keys and values go to `on_layer` as soon as they exist, before the block's own attention runs, so
    /// that shipping them overlaps with as much computing as possible.
    pub fn prefill(&self, x: Tensor, on_layer: &mut dyn FnMut(LayerKv) -> ControlFlow<()>) -> Result<Vec<f32>> {
        let tokens = x.dim(0)?;
        let mut x = x;
        for (at, block) in self.blocks.iter().enumerate() {
            let normed = block.normed(&x)?;
            let kv = block.keys_values(&normed, &self.rope, 0)?;
            let exported = LayerKv::export(block.layer, &kv.k, &kv.v, self.compute)?;
            if on_layer(exported).is_break() {
                return Err(ModelError::Cancelled);
            }
            // [kv_heads, tokens, head_dim]
            let (k, v) = (kv.k.transpose(0, 1)?.contiguous()?, kv.v.transpose(0, 1)?.contiguous()?);
            // Nothing but the last row leaves the last block.
            let first = if at + 1 == self.blocks.len() { tokens - 1 } else { 0 };
            let (rows, normed) = (x.narrow(0, first, tokens - first)?, normed.narrow(0, first, tokens - first)?);
            x = block.forward(&rows, &normed, (&k, &v), &self.rope, first)?;
        }
        self.logits(&x)
    }

    /// Feeds one token at the cache's next position and returns its logits.
    pub fn decode_step(&self, cache: &mut KvCache, token: u32) -> Result<Vec<f32>> {
        let position = cache.open_position()?;
        let mut x = self.embed(&[token])?; // [1, hidden]
        for (slot, block) in self.blocks.iter().enumerate() {
            let normed = block.normed(&x)?;
            let kv = block.keys_values(&normed, &self.rope, position)?;
            let (k, v) = cache.append(slot, &kv.k, &kv.v)?;
            x = block.forward(&x, &normed, (&k, &v), &self.rope, position)?;
        }
        self.logits(&x)
    }

    /// x: [1, hidden] -> [vocab]
    fn logits(&self, x: &Tensor) -> Result<Vec<f32>> {
        let logits = self.head.forward(&self.norm.forward(x)?)?; // [1, vocab]
        Ok(logits.squeeze(0)?.to_dtype(candle_core::DType::F32)?.to_vec1()?)
    }
}

/// The blocks left of `layers`, in order.
fn kept_layers(layers: usize, removed: &BTreeSet<usize>) -> Result<Vec<usize>> {
    if let Some(&index) = removed.iter().find(|&&index| index >= layers) {
        return Err(ModelError::OutOfRange { what: "removed block", index, len: layers });
    }
    let kept: Vec<usize> = (0..layers).filter(|layer| !removed.contains(layer)).collect();
    if kept.is_empty() {
        return Err(ModelError::config("blocks_removed", "no block would be left"));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_set_keeps_checkpoint_indices() {
        assert_eq!(kept_layers(4, &BTreeSet::from([1])).unwrap(), [0, 2, 3]);
    }

    #[test]
    fn removing_what_is_not_there_or_everything_is_refused() {
        assert!(matches!(kept_layers(2, &BTreeSet::from([2])), Err(ModelError::OutOfRange { index: 2, .. })));
        assert!(kept_layers(2, &BTreeSet::from([0, 1])).is_err());
    }
}
