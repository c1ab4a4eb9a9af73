//! Blocks that change the residual stream little (PDTrim's redundancy score).
//!
//! \[P\] `s_l = mean cos(h_l, h_{l+1})`, the residual stream before and after block `l`, once per stage; a block with
//! `s_l >= d_T` = [`DISTILL_THRESHOLD`] is in the pruning set, any other in the distillation set. \[R\] Sums are in
//! f64; the mean is over a sample's tokens, then over samples, so that a long sample does not outweigh a short one. A
//! block of the distillation set needs a repair in its place; the loss decides whether it gets one (`secateur plan`).

use super::block_set::BlockSet;
use crate::rows::{Rows, RowsError};

/// \[P\] The threshold `d_T`.
pub const DISTILL_THRESHOLD: f64 = 0.95;

/// Smallest norm product to divide by, so that a zero row has similarity 0; below the product of any two nonzero f32
/// rows.
const EPSILON: f64 = f64::MIN_POSITIVE;

/// Running mean cosine at several places in the model: place `l` is block `l` for `s_l`, or the block pair `(l, l+1)`
/// if the caller feeds `h_l` and `h_{l+2}`.
#[derive(Clone, Debug)]
pub struct Similarity {
    width: usize,
    sample: Vec<Mean>,
    total: Vec<Mean>,
}

/// The reason why residual rows were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimilarityError {
    /// The values are not a whole number of rows.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The two sides do not have the same number of tokens.
    #[error("{before} rows before the block and {after} after it")]
    Unequal {
        /// Rows before the block.
        before: usize,
        /// Rows after the block.
        after: usize,
    },
    /// The place does not exist.
    #[error("place {place} of {places}")]
    Place {
        /// The requested place.
        place: usize,
        /// Number of places.
        places: usize,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Similarity {
    /// A mean over `places` places and residual rows of `width` values.
    pub fn new(places: usize, width: usize) -> Self {
        Self { width, sample: vec![Mean::default(); places], total: vec![Mean::default(); places] }
    }

    /// Adds tokens of the current sample: `before` and `after` are `[tokens, width]`, row-major.
    pub fn add(&mut self, place: usize, before: &[f32], after: &[f32]) -> Result<(), SimilarityError> {
        let (before, after) = (Rows::new(before, self.width)?, Rows::new(after, self.width)?);
        if before.len() != after.len() {
            return Err(SimilarityError::Unequal { before: before.len(), after: after.len() });
        }
        let places = self.sample.len();
        let mean = self.sample.get_mut(place).ok_or(SimilarityError::Place { place, places })?;
        for (before, after) in before.iter().zip(after.iter()) {
            mean.add(cosine(before, after));
        }
        Ok(())
    }

    /// Ends the current sample, which does not count for places that saw no token of it.
    pub fn end_sample(&mut self) {
        for (sample, total) in self.sample.iter_mut().zip(&mut self.total) {
            if let Some(mean) = std::mem::take(sample).get() {
                total.add(mean);
            }
        }
    }

    /// The mean of each place over the samples ended so far; `None` if a place has seen none.
    pub fn means(&self) -> Option<Vec<f64>> {
        self.total.iter().map(|mean| mean.get()).collect()
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let (mut dot, mut aa, mut bb) = (0f64, 0f64, 0f64);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x), f64::from(y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    dot / (aa.sqrt() * bb.sqrt()).max(EPSILON)
}

/// PDTrim's two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Blocks that may be dropped outright.
    pub prune: BlockSet,
    /// Blocks that need a repair if they are dropped.
    pub distill: BlockSet,
}

impl Split {
    /// Splits the blocks by `similarity[l] >= threshold`; NaN is in the distillation set.
    ///
    /// # Panics
    /// If there are more than [`BlockSet::CAPACITY`] blocks.
    pub fn at(similarity: &[f64], threshold: f64) -> Self {
        let mut split = Split { prune: BlockSet::EMPTY, distill: BlockSet::EMPTY };
        for (block, &score) in similarity.iter().enumerate() {
            let side = if score >= threshold { &mut split.prune } else { &mut split.distill };
            *side = side.with(block);
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_over_tokens_then_over_samples() {
        let mut similarity = Similarity::new(1, 2);
        // Three tokens with cosine 1, in two parts, then a sample of one token with cosine 0.
        similarity.add(0, &[1.0, 0.0, 0.0, 2.0], &[5.0, 0.0, 0.0, 1.0]).unwrap();
        similarity.add(0, &[1.0, 1.0], &[2.0, 2.0]).unwrap();
        assert_eq!(similarity.means(), None);
        similarity.end_sample();
        similarity.add(0, &[1.0, 0.0], &[0.0, 3.0]).unwrap();
        similarity.end_sample();
        similarity.end_sample();
        assert!((similarity.means().unwrap()[0] - 0.5).abs() < 1e-12);
    }

    #[test]
    fn opposite_and_zero_rows() {
        let mut similarity = Similarity::new(2, 1);
        similarity.add(0, &[1e-20], &[-1.0]).unwrap();
        similarity.add(1, &[0.0], &[0.0]).unwrap();
        similarity.end_sample();
        let means = similarity.means().unwrap();
        assert!((means[0] + 1.0).abs() < 1e-12 && means[1] == 0.0, "{means:?}");
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let mut similarity = Similarity::new(1, 2);
        assert!(matches!(similarity.add(0, &[1.0], &[1.0]), Err(SimilarityError::Rows(_))));
        let unequal = similarity.add(0, &[1.0, 1.0], &[]);
        assert_eq!(unequal, Err(SimilarityError::Unequal { before: 1, after: 0 }));
        assert_eq!(similarity.add(1, &[], &[]), Err(SimilarityError::Place { place: 1, places: 1 }));
    }

    #[test]
    fn the_threshold_itself_is_pruned() {
        let split = Split::at(&[0.95, 0.9499, f64::NAN, 1.0], DISTILL_THRESHOLD);
        assert_eq!(split.prune, BlockSet::of([0, 3]).unwrap());
        assert_eq!(split.distill, BlockSet::of([1, 2]).unwrap());
    }
}
