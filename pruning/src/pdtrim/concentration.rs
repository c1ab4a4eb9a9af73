//! Selection of the layers that send only first and last tokens: those whose attention lies on these tokens anyway.
//!
//! \[P\] Layers whose attention concentrates on first and last tokens are selected. \[R\] The caller measures `c_l`,
//! the attention mass of the last [`QUERIES`] queries on the first `F` and last `W` tokens, averaged over heads and
//! samples. The selected layers are those with `c_l >= theta`, or the highest ones that meet a byte target.

use super::{block_set::BlockSet, bytes::bytes_fraction};

/// Number of queries, at the end of the prompt, whose attention is measured.
pub const QUERIES: usize = 32;

/// A model family that SimLayerKV (arXiv 2410.13846) gives a threshold for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama 2.
    Llama2,
    /// Llama 3 and later.
    Llama3,
    /// Mistral.
    Mistral,
    /// Qwen.
    Qwen,
}

impl Family {
    /// SimLayerKV's threshold for a lazy layer. Its window is the first 4 and last 1024 tokens and its query the last
    /// one, so for our window this value is a starting point, not a result.
    pub fn theta(self) -> f64 {
        match self {
            Family::Llama2 => 0.65,
            Family::Llama3 => 0.9,
            Family::Mistral => 0.8,
            Family::Qwen => 0.85,
        }
    }
}

/// Error when no selection of layers reaches the requested byte share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "a byte share of {target} is out of reach: with first and last tokens only in all {layers} layers that decode keeps it is {best}"
)]
pub struct Unreachable {
    /// The requested share.
    pub target: f64,
    /// The smallest share that is possible.
    pub best: f64,
    /// Number of layers that decode keeps.
    pub layers: usize,
}

/// The layers of `kept` with `c_l >= theta`; `scores[l]` is `c_l`, for every layer of the checkpoint.
pub fn by_threshold(scores: &[f64], kept: BlockSet, theta: f64) -> BlockSet {
    chosen(scores.iter().enumerate().filter(|&(l, &score)| kept.contains(l) && score >= theta).map(|(l, _)| l))
}

/// The fewest layers of `kept`, highest `c_l` first, that bring the share of bytes sent to at most `target`.
///
/// `keep` is the share of tokens that a selected layer sends; for prompts so short that the minimums decide, the caller
/// gives [`Ends::count`](super::retention::Ends::count) over positions. Ties go to the lower layer; NaN scores come
/// last.
///
/// # Panics
/// If `kept` has a layer beyond `scores`, or there are no scores.
pub fn by_bytes(scores: &[f64], kept: BlockSet, keep: f64, target: f64) -> Result<BlockSet, Unreachable> {
    let share = |selected| bytes_fraction(scores.len(), kept.len(), selected, keep);
    let Some(count) = (0..=kept.len()).find(|&selected| share(selected) <= target) else {
        let best = share(kept.len()).min(share(0));
        return Err(Unreachable { target, best, layers: kept.len() });
    };
    Ok(chosen(ranked(scores, kept).into_iter().take(count)))
}

/// Layers of `kept`, highest score first.
fn ranked(scores: &[f64], kept: BlockSet) -> Vec<usize> {
    let mut order: Vec<usize> = kept.iter().collect();
    let key = |l: usize| if scores[l].is_nan() { f64::NEG_INFINITY } else { scores[l] };
    // The sort is stable, so equal scores stay in index order.
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    order
}

fn chosen(layers: impl Iterator<Item = usize>) -> BlockSet {
    layers.fold(BlockSet::EMPTY, BlockSet::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(blocks: &[usize]) -> BlockSet {
        BlockSet::of(blocks.iter().copied()).unwrap()
    }

    #[test]
    fn a_threshold_selects_among_kept_layers_only() {
        let scores = [0.95, 0.9, 0.2, f64::NAN, 0.99];
        assert_eq!(by_threshold(&scores, set(&[0, 1, 2, 3]), Family::Llama3.theta()), set(&[0, 1]));
        assert_eq!(by_threshold(&scores, BlockSet::EMPTY, 0.1), BlockSet::EMPTY);
    }

    #[test]
    fn a_byte_target_takes_no_more_layers_than_it_needs() {
        let scores: Vec<f64> = (0..32).map(|l| f64::from(l % 7)).collect();
        let kept = BlockSet::all(26).unwrap();
        let selected = by_bytes(&scores, kept, 0.07, 0.2025).unwrap();
        assert_eq!(selected.len(), 21);
        assert!(selected.is_subset(kept));
        let lowest = selected.iter().map(|l| scores[l]).fold(f64::INFINITY, f64::min);
        assert!(kept.difference(selected).iter().all(|l| scores[l] <= lowest));
        assert_eq!(by_bytes(&scores, kept, 0.07, 1.0).unwrap(), BlockSet::EMPTY);
    }

    #[test]
    fn ties_go_to_the_lower_layer_and_nan_comes_last() {
        let scores = [0.5, f64::NAN, 0.5, 0.7];
        assert_eq!(by_bytes(&scores, set(&[0, 1, 2, 3]), 0.0, 0.5).unwrap(), set(&[0, 3]));
    }

    #[test]
    fn an_impossible_target_names_the_best() {
        let error = by_bytes(&[0.5; 4], set(&[0, 1]), 0.5, 0.1).unwrap_err();
        assert_eq!(error, Unreachable { target: 0.1, best: 0.25, layers: 2 });
        assert!(error.to_string().contains("0.25"), "{error}");
    }
}
