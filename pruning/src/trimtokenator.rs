//! TrimTokenator (arXiv 2509.00320): prune visual tokens by alignment with the text, then by diversity.
//!
//! 1. \[P\] Stage 1 keeps the `N1` tokens with the highest alignment
//!    `alpha_i = -(1/M) sum_j ||x_i - t_j||^2` between visual token `x_i` and the `M` text tokens `t_j`.
//!    \[R\] Post-projector visual tokens and the language model's input embeddings of the user's words, f32;
//!    `N1 = max(K, round(0.8 N))`, the only public default; ties to the lower index; no text: stage 1 is skipped.
//! 2. \[P\] Stage 2 keeps `K` of these by greedy [RepMax](crate::repmax).
//! 3. \[R\] The kept tokens stay in their original order.
//!
//! Only the order of `alpha` matters, and `mean_j ||t_j||^2` is the same for every token, so stage 1 ranks by the
//! closed form `2 x_i . mean(t) - ||x_i||^2`: O((N + M) d) instead of O(N M d).
//!
//! Known weakness, kept as published: if visual norms are far above text norms, `-||x_i||^2` dominates and stage 1
//! becomes a filter for small norms.

use crate::{
    repmax,
    rows::{Rows, dot},
};

/// Share of the tokens that stage 1 keeps.
pub const STAGE1_RATIO: f64 = 0.8;

/// Indices of the `keep` visual tokens that TrimTokenator keeps, ascending.
///
/// `visual` is `[N, d]`, `text` is `[M, d]`. With `keep >= N` all tokens are kept.
///
/// # Panics
/// If the widths differ.
pub fn select(visual: Rows<'_>, text: Rows<'_>, keep: usize, stage1_ratio: f64) -> Vec<usize> {
    let tokens = visual.len();
    if keep >= tokens {
        return (0..tokens).collect();
    }
    let aligned = if text.is_empty() {
        (0..tokens).collect()
    } else {
        let stage1 = ((tokens as f64 * stage1_ratio).round() as usize).clamp(keep, tokens);
        highest(&alignment(visual, text), stage1)
    };
    let mut kept = repmax::select(visual, &aligned, keep);
    kept.sort_unstable();
    kept
}

/// `alpha_i` up to the constant `-mean_j ||t_j||^2`, for each visual token.
///
/// # Panics
/// If the widths differ.
pub fn alignment(visual: Rows<'_>, text: Rows<'_>) -> Vec<f32> {
    assert_eq!(visual.width(), text.width(), "visual and text tokens live in one embedding space");
    let mean_text = text.mean();
    visual.iter().map(|row| 2.0 * dot(row, &mean_text) - dot(row, row)).collect()
}

/// The `count` indices with the highest scores, ascending by index; ties to the lower index.
fn highest(scores: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // The sort is stable, so equal scores stay in index order.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(count);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<f32>>> {
        prop::collection::vec(prop::collection::vec(-2f32..2f32, 9), rows)
    }

    fn naive_alpha(visual: &[Vec<f32>], text: &[Vec<f32>]) -> Vec<f64> {
        let distance = |x: &[f32], t: &[f32]| -> f64 {
            x.iter().zip(t).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
        };
        visual.iter().map(|x| -text.iter().map(|t| distance(x, t)).sum::<f64>() / text.len() as f64).collect()
    }

    proptest! {
        #[test]
        fn the_closed_form_differs_from_alpha_by_a_constant(visual in matrix(2..20), text in matrix(1..12)) {
            let flat = |rows: &[Vec<f32>]| rows.iter().flatten().copied().collect::<Vec<f32>>();
            let (v, t) = (flat(&visual), flat(&text));
            let closed = alignment(Rows::new(&v, 9).unwrap(), Rows::new(&t, 9).unwrap());
            let naive = naive_alpha(&visual, &text);
            let constant = naive[0] - f64::from(closed[0]);
            for (closed, naive) in closed.iter().zip(&naive) {
                prop_assert!((naive - f64::from(*closed) - constant).abs() < 1e-3);
            }
        }

        #[test]
        fn keeps_exactly_what_is_asked_in_order(visual in matrix(1..40), text in matrix(0..6), keep in 0usize..50) {
            let flat = |rows: &[Vec<f32>]| rows.iter().flatten().copied().collect::<Vec<f32>>();
            let (v, t) = (flat(&visual), flat(&text));
            let kept = select(Rows::new(&v, 9).unwrap(), Rows::new(&t, 9).unwrap(), keep, STAGE1_RATIO);
            prop_assert_eq!(kept.len(), keep.min(visual.len()));
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn stage_one_drops_what_is_far_from_the_text() {
        // Token 4 is the most different, so RepMax alone would start from it; it is also farthest from the text.
        let visual = [1.0f32, 0.0, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, -9.0, -9.0];
        let text = [1.0f32, 0.0];
        let (visual, text) = (Rows::new(&visual, 2).unwrap(), Rows::new(&text, 2).unwrap());
        assert_eq!(select(visual, text, 2, STAGE1_RATIO), [0, 3]);
        let nothing = Rows::new(&[], 2).unwrap();
        assert!(select(visual, nothing, 2, STAGE1_RATIO).contains(&4));
    }
}
