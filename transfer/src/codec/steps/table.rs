//! Quantization steps of a checkpoint's channels at grain 0, which prefill measures and sends to decode.

use bytes::Bytes;

use super::{coder::LayerSteps, grain::Grain};

/// A quantization step on a logarithmic scale of quarter octaves: `2^((notch - 128) / 4)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notch(pub u8);

impl Notch {
    /// The notch nearest to `step`; the smallest one if `step` is not a positive number.
    pub fn nearest(step: f64) -> Notch {
        let quarters = (step.log2() * 4.0).round() + 128.0;
        Notch(if quarters.is_nan() { 0 } else { quarters.clamp(0.0, 255.0) as u8 })
    }

    /// The step at a grain. It has the same bits on every machine: a constant with its exponent shifted.
    fn step(self, grain: Grain) -> f32 {
        Self::power(i32::from(self.0) - 128 - i32::from(grain.quarters()))
    }

    fn steps_per_unit(self, grain: Grain) -> f32 {
        Self::power(128 + i32::from(grain.quarters()) - i32::from(self.0))
    }

    /// The power `2^(quarters / 4)`.
    fn power(quarters: i32) -> f32 {
        const QUARTERS: [f32; 4] = [1.0, 1.189_207_1, std::f32::consts::SQRT_2, 1.681_792_9];
        let (octave, quarter) = (quarters.div_euclid(4), quarters.rem_euclid(4));
        QUARTERS[quarter as usize] * f32::from_bits(((octave + 127) as u32) << 23)
    }
}

/// Quantization steps of every shipped layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvSteps {
    /// Notches, layer by layer: for each key/value head a notch for each rotary pair of its keys, then for each head
    /// the notch of its values.
    notches: Bytes,
}

impl KvSteps {
    /// The steps from their bytes on the wire.
    pub fn from_bytes(notches: Bytes) -> Self {
        Self { notches }
    }

    /// The steps from notches `keys(layer, head, pair)` and `values(layer, head)`; layers are numbered in the order in
    /// which they are shipped.
    pub fn new(
        layers: usize,
        (kv_heads, head_dim): (usize, usize),
        keys: impl Fn(usize, usize, usize) -> Notch,
        values: impl Fn(usize, usize) -> Notch,
    ) -> Self {
        let mut notches = Vec::with_capacity(layers * Self::of_layer(kv_heads, head_dim));
        for layer in 0..layers {
            for head in 0..kv_heads {
                notches.extend((0..pairs(head_dim)).map(|pair| keys(layer, head, pair).0));
            }
            notches.extend((0..kv_heads).map(|head| values(layer, head).0));
        }
        Self { notches: notches.into() }
    }

    /// The steps as bytes on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.notches
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.notches.is_empty()
    }

    /// Whether the steps are those of `layers` layers of this shape.
    pub fn fit(&self, layers: usize, (kv_heads, head_dim): (usize, usize)) -> bool {
        self.notches.len() == layers.saturating_mul(Self::of_layer(kv_heads, head_dim))
    }

    /// The steps of some of the layers, given by their indices.
    pub fn of_layers(&self, places: impl Iterator<Item = usize>, (kv_heads, head_dim): (usize, usize)) -> Self {
        let each = Self::of_layer(kv_heads, head_dim);
        let notches = places.filter_map(|place| self.notches.get(place * each..(place + 1) * each));
        Self { notches: notches.flatten().copied().collect() }
    }

    /// Steps of the channels of the layer at index `place` of those shipped. `None` if there are none for it.
    pub fn layer(&self, place: usize, (kv_heads, head_dim): (usize, usize), grain: Grain) -> Option<LayerSteps> {
        let each = Self::of_layer(kv_heads, head_dim);
        let notches = self.notches.get(place.checked_mul(each)?..)?.get(..each)?;
        let pairs = pairs(head_dim);
        let (keys, values) = notches.split_at(kv_heads * pairs);
        let notch = |channel: usize| {
            [Notch(keys[channel / head_dim * pairs + channel % head_dim % pairs]), Notch(values[channel / head_dim])]
        };
        let width = kv_heads * head_dim;
        let plane = |plane: usize, of: fn(Notch, Grain) -> f32| {
            (0..width).map(|channel| of(notch(channel)[plane], grain)).collect()
        };
        Some(LayerSteps {
            steps: [plane(0, Notch::step), plane(1, Notch::step)],
            steps_per_unit: [plane(0, Notch::steps_per_unit), plane(1, Notch::steps_per_unit)],
        })
    }

    /// Number of notches of one layer.
    fn of_layer(kv_heads: usize, head_dim: usize) -> usize {
        kv_heads.saturating_mul(pairs(head_dim) + 1)
    }
}

/// Number of rotary pairs of a head: channels `i` and `i + pairs` are rotated together.
fn pairs(head_dim: usize) -> usize {
    head_dim.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notches_are_quarter_octaves() {
        assert_eq!(
            [1.0, 2.0, 0.25, 1.19, 0.0, f64::NAN, 1e30].map(|step| Notch::nearest(step).0),
            [128, 132, 120, 129, 0, 0, 255]
        );
        let grain = Grain::of_bits(4.0).unwrap();
        assert_eq!((Notch(128).step(grain), Notch(128).steps_per_unit(grain)), (1.0 / 16.0, 16.0));
        for notch in 0..=255 {
            let product = Notch(notch).step(grain) * Notch(notch).steps_per_unit(grain);
            assert!((product - 1.0).abs() < 1e-6, "{notch}: {product}");
        }
    }

    #[test]
    fn channels_of_a_pair_have_one_step() {
        let keys = |layer: usize, head: usize, pair: usize| Notch((100 + 50 * layer + 10 * head + pair) as u8);
        let values = |layer: usize, head: usize| Notch((200 + layer * 20 + head) as u8);
        let steps = KvSteps::new(2, (2, 4), keys, values);
        assert!(steps.fit(2, (2, 4)) && !steps.fit(1, (2, 4)));
        let grain = Grain::COARSEST;
        let layer = steps.layer(1, (2, 4), grain).unwrap();
        let step = |notch: u8| Notch(notch).step(grain);
        assert_eq!(layer.steps[0], [150, 151, 150, 151, 160, 161, 160, 161].map(step));
        assert_eq!(layer.steps[1], [220, 220, 220, 220, 221, 221, 221, 221].map(step));
        assert!(steps.layer(2, (2, 4), grain).is_none());
        assert_eq!(
            steps.of_layers([1].into_iter(), (2, 4)).layer(0, (2, 4), grain).map(|found| found.steps),
            Some(layer.steps)
        );
    }
}
