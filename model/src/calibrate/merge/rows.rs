//! Rows of a sample that a merged block is trained on.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// Rows of one sample, with the keys and values that they see.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// The residual stream before the pair, [rows, hidden].
    pub x: Tensor,
    /// The stream before the pair after the input norm, which is frozen, [rows, hidden].
    pub normed: Tensor,
    /// Rotary cosines, [rows, 1, head_dim / 2].
    pub cos: Tensor,
    /// Rotary sines, [rows, 1, head_dim / 2].
    pub sin: Tensor,
    /// Keys after rotary embedding, transposed, [kv_heads, head_dim, slots].
    pub keys: Tensor,
    /// Values, [kv_heads, slots, head_dim].
    pub values: Tensor,
    /// Attention mask: 0 where a row sees a slot, and minus infinity elsewhere, [rows, slots].
    pub mask: Tensor,
    /// Training target: the stream after the pair in the unpruned model, [rows, hidden].
    pub target: Tensor,
}

/// Slots of the training rows, and which slots each of them sees.
pub(super) struct View<'a> {
    /// Each row's slot, ascending.
    pub slots: &'a [usize],
    /// Number of slots that have keys and values.
    pub seen: usize,
    /// Sliding window: how many last slots a row sees, its own included; `None` if it sees all.
    pub window: Option<usize>,
}

impl View<'_> {
    /// The attention mask, [rows, slots]: causal, and within the window.
    pub fn mask(&self) -> Result<Tensor> {
        let sees = |row: usize, slot: usize| slot <= row && self.window.is_none_or(|window| row - slot < window);
        let mut mask = Vec::with_capacity(self.slots.len() * self.seen);
        for &row in self.slots {
            mask.extend((0..self.seen).map(|slot| if sees(row, slot) { 0.0 } else { f32::NEG_INFINITY }));
        }
        Ok(Tensor::from_vec(mask, (self.slots.len(), self.seen), &Device::Cpu)?)
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.x.dims()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sees_what_is_before_it_and_in_its_window() {
        let seen = |window| {
            let mask = View { slots: &[1, 3], seen: 4, window }.mask().unwrap().to_vec2::<f32>().unwrap();
            mask.into_iter().map(|row| row.into_iter().map(|value| value == 0.0).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(seen(None), [[true, true, false, false], [true, true, true, true]]);
        assert_eq!(seen(Some(2)), [[true, true, false, false], [false, false, true, true]]);
    }
}
