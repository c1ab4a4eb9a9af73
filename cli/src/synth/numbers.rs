//! Random numbers, made as fast as a disk can write them.
//!
//! Sixteen bits of a hash select one of 65 536 numbers that were drawn before and are already in the file's format: a
//! load and a store per number, where drawing it would take a logarithm. The hash is of a counter, not a chain, so that
//! the processor computes several at once, and any part of a tensor can be made without the part before it.

use half::{bf16, f16};
use secateur_model::FloatType;

use super::tensors::Fill;

const DRAWN: usize = 1 << 16;
/// Sixteen-bit values in each hash.
const PER_HASH: usize = 4;
/// Counter step of splitmix64: the golden ratio's bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// Seed of the pool. The pool of drawn numbers is the same for every user's seed, which only decides their order.
const POOL_SEED: u64 = 0x5ECA_7E12;

/// A pool of 65 536 normally distributed numbers with mean 0 and standard deviation 1.
pub struct Pool(Vec<f32>);

impl Pool {
    /// Draws the numbers in pairs, with the method of Box and Muller.
    pub fn new() -> Pool {
        let uniform = |index: u64| (hash(POOL_SEED, index) >> 11) as f64 / (1u64 << 53) as f64;
        let pair = |index: u64| {
            // 1 - u is above 0, so the logarithm is finite.
            let radius = (-2.0 * (1.0 - uniform(2 * index)).ln()).sqrt();
            let angle = std::f64::consts::TAU * uniform(2 * index + 1);
            [(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]
        };
        Pool((0..DRAWN as u64 / 2).flat_map(pair).collect())
    }

    /// The numbers that fill a tensor, in the stored format.
    pub fn table(&self, fill: Fill, dtype: FloatType) -> Table {
        let value = |drawn: &f32| match fill {
            Fill::Ones => 1.0,
            Fill::Normal(deviation) => drawn * deviation,
        };
        let values = self.0.iter().map(value);
        match dtype {
            FloatType::F32 => Table::Four(boxed(values.map(|value| value.to_bits().to_le()))),
            FloatType::Bf16 => Table::Two(boxed(values.map(|value| bf16::from_f32(value).to_bits().to_le()))),
            FloatType::F16 => Table::Two(boxed(values.map(|value| f16::from_f32(value).to_bits().to_le()))),
        }
    }
}

/// Drawn numbers in the file's format, little-endian as in safetensors.
pub enum Table {
    Two(Box<[u16; DRAWN]>),
    Four(Box<[u32; DRAWN]>),
}

/// An array and not a slice, so that any sixteen bits are a valid index.
fn boxed<T: Copy + Default>(values: impl Iterator<Item = T>) -> Box<[T; DRAWN]> {
    let mut table = Box::new([T::default(); DRAWN]);
    for (place, value) in table.iter_mut().zip(values) {
        *place = value;
    }
    table
}

/// Fills `out` with the numbers from `first` on of the seed's stream; `first` must be a multiple of four.
pub fn fill<T: Copy>(table: &[T; DRAWN], seed: u64, first: u64, out: &mut [T]) {
    debug_assert!(first.is_multiple_of(PER_HASH as u64));
    for (index, four) in (first / PER_HASH as u64..).zip(out.chunks_mut(PER_HASH)) {
        let bits = hash(seed, index);
        for (part, place) in four.iter_mut().enumerate() {
            *place = table[usize::from((bits >> (16 * part)) as u16)];
        }
    }
}

/// The `index`-th number of splitmix64 with that seed.
fn hash(seed: u64, index: u64) -> u64 {
    let mut bits = seed.wrapping_add((index.wrapping_add(1)).wrapping_mul(STEP));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_as_asked() {
        let Table::Four(table) = Pool::new().table(Fill::Normal(0.02), FloatType::F32) else { panic!("f32") };
        let mut drawn = vec![0; 1 << 18];
        fill(&table, 7, 0, &mut drawn);
        let values: Vec<f64> = drawn.iter().map(|bits| f64::from(f32::from_bits(*bits))).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 2e-4, "{mean}");
        assert!((variance.sqrt() - 0.02).abs() < 2e-4, "{}", variance.sqrt());
        assert!(values.iter().all(|value| value.abs() < 0.15));
    }

    #[test]
    fn a_part_is_the_same_as_in_the_whole_and_seeds_differ() {
        let Table::Two(table) = Pool::new().table(Fill::Normal(1.0), FloatType::Bf16) else { panic!("bf16") };
        let draw = |seed: u64, first: u64, len: usize| {
            let mut out = vec![0; len];
            fill(&table, seed, first, &mut out);
            out
        };
        let whole = draw(1, 0, 1001);
        assert_eq!(draw(1, 400, 601), whole[400..]);
        assert_ne!(draw(2, 0, 1001), whole);
    }

    #[test]
    fn norms_are_ones_in_every_format() {
        let pool = Pool::new();
        let Table::Two(table) = pool.table(Fill::Ones, FloatType::F16) else { panic!("f16") };
        assert!(table.iter().all(|bits| f16::from_bits(*bits) == f16::ONE));
        let Table::Two(table) = pool.table(Fill::Ones, FloatType::Bf16) else { panic!("bf16") };
        assert!(table.iter().all(|bits| bf16::from_bits(*bits) == bf16::ONE));
    }
}
