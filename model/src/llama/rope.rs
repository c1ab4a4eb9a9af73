//! Rotary position embedding in Hugging Face's layout: entry `i` of a head is paired with entry `i + head_dim / 2`.

use candle_core::{Device, Tensor};

use crate::checkpoint::LanguageConfig;
use crate::float::FloatType;

/// Cosines and sines of every position.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    /// [max_positions, head_dim / 2]
    cos: Tensor,
    /// [max_positions, head_dim / 2]
    sin: Tensor,
}

impl Rope {
    /// Computes the tables in f32, as the reference does, and rounds them to the compute format only at the end.
    pub fn new(config: &LanguageConfig, compute: FloatType, device: &Device) -> candle_core::Result<Rope> {
        let half = config.head_dim / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|pair| 1.0 / config.rope_theta.powf((2 * pair) as f32 / config.head_dim as f32)).collect();
        let table = |function: fn(f32) -> f32| {
            let values: Vec<f32> = (0..config.max_positions)
                .flat_map(|position| frequencies.iter().map(move |frequency| function(position as f32 * frequency)))
                .collect();
            Tensor::from_vec(values, (config.max_positions, half), device)?.to_dtype(compute.candle())
        };
        Ok(Rope { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// Turns rows that stand at positions `first`, `first + 1`, ...
    ///
    /// x: [rows, heads, head_dim] -> the same shape.
    pub fn turn(&self, x: &Tensor, first: usize) -> candle_core::Result<Tensor> {
        let (rows, _heads, _head_dim) = x.dims3()?;
        let cos = self.cos.narrow(0, first, rows)?; // [rows, head_dim / 2]
        let sin = self.sin.narrow(0, first, rows)?;
        candle_nn::rotary_emb::rope_thd(&x.unsqueeze(0)?.contiguous()?, &cos, &sin)?.squeeze(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope() -> Rope {
        let typed = serde_json::from_str(r#"{"hidden_size": 8, "num_attention_heads": 2}"#).unwrap();
        let config = LanguageConfig::validate(&typed, "").unwrap();
        Rope::new(&config, FloatType::F32, &Device::Cpu).unwrap()
    }

    #[test]
    fn halves_are_paired_and_turned_by_their_frequency() {
        // head_dim 4, so the pairs are (0, 2) at frequency 1 and (1, 3) at frequency 1 / 100.
        let x = Tensor::new(&[[[1.0f32, 1.0, 0.0, 0.0]]], &Device::Cpu).unwrap();
        let found = rope().turn(&x, 3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = [3f32.cos(), 0.03f32.cos(), 3f32.sin(), 0.03f32.sin()];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_row_alone_is_turned_as_it_is_among_others() {
        let x = Tensor::randn(0.0f32, 1.0, (5, 2, 4), &Device::Cpu).unwrap();
        let together = rope().turn(&x, 10).unwrap().narrow(0, 3, 1).unwrap();
        let alone = rope().turn(&x.narrow(0, 3, 1).unwrap(), 13).unwrap();
        assert_eq!(together.to_vec3::<f32>().unwrap(), alone.to_vec3::<f32>().unwrap());
    }
}
