//! KV of one sequence while it is decoded.
//!
//! Each kept block has one preallocated buffer for keys and one for values, head-major, so that attention reads a
//! head's keys in one run and a step writes one row in place: nothing is copied or grown per token. The layout is
//! private; blocks of a shared pool can take its place without changing a caller.

use candle_core::{Device, Tensor};

use crate::checkpoint::LanguageConfig;
use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// KV of one sequence for the blocks of one stage.
pub struct KvCache {
    capacity: usize,
    kv_heads: usize,
    head_dim: usize,
    format: FloatType,
    layers: Vec<usize>,
    slots: Vec<Slot>,
}

/// Buffers of one block.
struct Slot {
    /// [kv_heads, capacity, head_dim]
    k: Tensor,
    /// [kv_heads, capacity, head_dim]
    v: Tensor,
    /// Positions `0..filled` hold KV.
    filled: usize,
}

impl KvCache {
    pub(crate) fn new(
        config: &LanguageConfig,
        layers: Vec<usize>,
        capacity: usize,
        format: FloatType,
        device: &Device,
    ) -> Result<KvCache> {
        let shape = (config.kv_heads, capacity, config.head_dim);
        let buffer = || Tensor::zeros(shape, format.candle(), device);
        let slot = |_: &usize| Ok(Slot { k: buffer()?, v: buffer()?, filled: 0 });
        let slots = layers.iter().map(slot).collect::<Result<Vec<_>>>()?;
        let (kv_heads, head_dim) = (config.kv_heads, config.head_dim);
        Ok(KvCache { capacity, kv_heads, head_dim, format, layers, slots })
    }

    /// Positions that every block has KV for.
    pub fn len(&self) -> usize {
        self.slots.iter().map(|slot| slot.filled).min().unwrap_or(0)
    }

    /// Whether there is no position that every block has KV for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Indices, in the checkpoint, of the blocks that need KV here, ascending.
    pub fn kept_layers(&self) -> &[usize] {
        &self.layers
    }

    /// Bytes that this cache's buffers take.
    pub fn size_bytes(&self) -> usize {
        2 * self.slots.len() * self.capacity * self.row_values() * self.format.size_bytes()
    }

    /// Places the KV of positions `0..tokens` for the block `layer` of the checkpoint.
    ///
    /// `k` and `v` are laid out as in [`crate::LayerKv`]. All kept blocks must be loaded, with the same number of
    /// tokens, before a decode step.
    pub fn load_layer(&mut self, layer: usize, tokens: usize, k: &[u8], v: &[u8]) -> Result<(), ModelError> {
        let absent = || ModelError::cache(format!("block {layer} is not one of {:?}", self.layers));
        let slot = self.layers.binary_search(&layer).map_err(|_| absent())?;
        if tokens > self.capacity {
            return Err(ModelError::ContextTooLong { tokens, limit: self.capacity });
        }
        let (k, v) = (self.import("k", layer, tokens, k)?, self.import("v", layer, tokens, v)?);
        let slot = &mut self.slots[slot];
        if tokens > 0 {
            slot.k.slice_set(&k, 1, 0)?;
            slot.v.slice_set(&v, 1, 0)?;
        }
        slot.filled = tokens;
        Ok(())
    }

    /// Keeps positions `0..tokens` only. Every block must have KV for them.
    pub fn set_len(&mut self, tokens: usize) -> Result<(), ModelError> {
        let short = self.slots.iter().position(|slot| slot.filled < tokens);
        if let Some(slot) = short {
            let (layer, filled) = (self.layers[slot], self.slots[slot].filled);
            return Err(ModelError::cache(format!("block {layer} has KV of {filled} positions, not {tokens}")));
        }
        self.slots.iter_mut().for_each(|slot| slot.filled = tokens);
        Ok(())
    }

    /// The next position, once it is certain that a step can be taken there.
    pub(crate) fn open_position(&self) -> Result<usize> {
        let len = self.len();
        if let Some(slot) = self.slots.iter().position(|slot| slot.filled != len) {
            let (layer, filled) = (self.layers[slot], self.slots[slot].filled);
            return Err(ModelError::cache(format!("block {layer} has KV of {filled} positions, another of {len}")));
        }
        if len >= self.capacity {
            return Err(ModelError::ContextTooLong { tokens: len + 1, limit: self.capacity });
        }
        Ok(len)
    }

    /// Writes one row, k and v [1, kv_heads, head_dim], and returns all keys and values [kv_heads, filled, head_dim].
    pub(crate) fn append(&mut self, slot: usize, k: &Tensor, v: &Tensor) -> Result<(Tensor, Tensor)> {
        let shape = (self.kv_heads, 1, self.head_dim);
        let slot = &mut self.slots[slot];
        // With a single token, token-major and head-major are the same bytes.
        slot.k.slice_set(&k.contiguous()?.reshape(shape)?, 1, slot.filled)?;
        slot.v.slice_set(&v.contiguous()?.reshape(shape)?, 1, slot.filled)?;
        slot.filled += 1;
        Ok((slot.k.narrow(1, 0, slot.filled)?, slot.v.narrow(1, 0, slot.filled)?))
    }

    /// Whether the cache was made for a model of this shape.
    pub(crate) fn fits(&self, config: &LanguageConfig, layers: &[usize], format: FloatType) -> bool {
        self.layers == layers
            && self.format == format
            && (self.kv_heads, self.head_dim) == (config.kv_heads, config.head_dim)
    }

    /// Values of one position in one buffer.
    fn row_values(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Bytes [tokens, kv_heads, head_dim] to a tensor [kv_heads, tokens, head_dim].
    fn import(&self, part: &str, layer: usize, tokens: usize, bytes: &[u8]) -> Result<Tensor> {
        let expected = tokens * self.row_values() * self.format.size_bytes();
        if bytes.len() != expected {
            return Err(ModelError::Shape {
                name: format!("{part} bytes of block {layer}"),
                expected: vec![expected],
                found: vec![bytes.len()],
            });
        }
        let shape = [tokens, self.kv_heads, self.head_dim];
        let device = self.slots[0].k.device();
        let token_major = Tensor::from_raw_buffer(bytes, self.format.candle(), &shape, device)?;
        Ok(token_major.transpose(0, 1)?.contiguous()?)
    }
}

impl std::fmt::Debug for KvCache {
    /// Without the values, which nobody wants in a log.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("KvCache")
            .field("layers", &self.layers)
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer_kv::LayerKv;

    /// Blocks 0 and 2, two KV heads of two values, room for four positions.
    fn cache() -> KvCache {
        let typed = r#"{"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2}"#;
        let config = LanguageConfig::validate(&serde_json::from_str(typed).unwrap(), "").unwrap();
        KvCache::new(&config, vec![0, 2], 4, FloatType::F32, &Device::Cpu).unwrap()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn what_was_shipped_comes_back_head_by_head_with_the_new_row_behind_it() {
        let mut cache = cache();
        // Two tokens; token 0 has heads [1, 2] and [3, 4].
        let kv = bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        for layer in [0, 2] {
            cache.load_layer(layer, 2, &kv, &kv).unwrap();
        }
        let row = Tensor::new(&[[[9.0f32, 10.0], [11.0, 12.0]]], &Device::Cpu).unwrap();
        assert_eq!(cache.open_position().unwrap(), 2);
        let (k, _) = cache.append(0, &row, &row).unwrap();
        let expected = [[[1.0f32, 2.0], [5.0, 6.0], [9.0, 10.0]], [[3.0, 4.0], [7.0, 8.0], [11.0, 12.0]]];
        assert_eq!(k.to_vec3::<f32>().unwrap(), expected);
    }

    #[test]
    fn an_exported_block_can_be_loaded_as_it_is() {
        let k = Tensor::randn(0.0f32, 1.0, (3, 2, 2), &Device::Cpu).unwrap();
        let sent = LayerKv::export(2, &k, &k, FloatType::F32).unwrap();
        let mut cache = cache();
        cache.load_layer(sent.layer, sent.tokens, &sent.k, &sent.v).unwrap();
        let held = cache.slots[1].k.narrow(1, 0, 3).unwrap().transpose(0, 1).unwrap();
        assert_eq!(held.to_vec3::<f32>().unwrap(), k.to_vec3::<f32>().unwrap());
    }

    #[test]
    fn a_step_on_unevenly_filled_blocks_is_refused() {
        let mut cache = cache();
        cache.load_layer(0, 1, &bytes(&[0.0; 4]), &bytes(&[0.0; 4])).unwrap();
        assert_eq!(cache.len(), 0);
        assert!(matches!(cache.open_position(), Err(ModelError::Cache { .. })));
        assert!(matches!(cache.set_len(1), Err(ModelError::Cache { .. })));
    }

    #[test]
    fn unknown_blocks_wrong_sizes_and_overflow_are_refused() {
        let mut cache = cache();
        let one = bytes(&[0.0; 4]);
        assert!(matches!(cache.load_layer(1, 1, &one, &one), Err(ModelError::Cache { .. })));
        assert!(matches!(cache.load_layer(0, 2, &one, &one), Err(ModelError::Shape { .. })));
        let five = bytes(&[0.0; 20]);
        assert!(matches!(cache.load_layer(0, 5, &five, &five), Err(ModelError::ContextTooLong { .. })));
        let four = bytes(&[0.0; 16]);
        for layer in [0, 2] {
            cache.load_layer(layer, 4, &four, &four).unwrap();
        }
        assert!(matches!(cache.open_position(), Err(ModelError::ContextTooLong { .. })));
    }
}
