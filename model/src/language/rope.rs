//! Cosines and sines of rows at their positions.

use crate::checkpoint::RopeConfig;

/// The frequencies of rotary embedding, and the axis of a position that rotates each pair.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    /// Frequency of each pair, [head_dim / 2].
    frequencies: Vec<f32>,
    /// Axis that rotates each pair, [head_dim / 2]: 0 time, 1 height, 2 width. Without M-RoPE all axes are equal.
    axes: Vec<u8>,
}

impl Rope {
    pub fn new(config: &RopeConfig, head_dim: usize) -> Rope {
        let frequencies = config.inverse_frequencies(head_dim);
        let mut axes = Vec::with_capacity(frequencies.len());
        for (axis, &pairs) in config.sections.iter().flatten().enumerate() {
            axes.extend(std::iter::repeat_n(axis as u8, pairs));
        }
        axes.resize(frequencies.len(), 0);
        Rope { frequencies, axes }
    }

    /// Number of channel pairs in a head, head_dim / 2.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Computes one row of the tables of cosines and sines, each [head_dim / 2]. The angle is rounded to f32 before the
    /// cosine is taken, as the reference does.
    pub fn line(&self, position: [u32; 3], cos: &mut [f32], sin: &mut [f32]) {
        for (pair, (&frequency, &axis)) in self.frequencies.iter().zip(&self.axes).enumerate() {
            let angle = position[axis as usize] as f32 * frequency;
            (sin[pair], cos[pair]) = angle.sin_cos();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::RopeScaling;

    #[test]
    fn each_pair_turns_by_its_frequency_and_axis() {
        // head_dim 4: frequencies 1 and 1 / 100; the first pair rotates by time, the second by height.
        let sections = Some([1, 1, 0]);
        let rope = Rope::new(&RopeConfig { theta: 10_000.0, scaling: RopeScaling::None, sections }, 4);
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        rope.line([3, 5, 7], &mut cos, &mut sin);
        for (found, expected) in
            [(cos[0], 3f32.cos()), (sin[0], 3f32.sin()), (cos[1], 0.05f32.cos()), (sin[1], 0.05f32.sin())]
        {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
