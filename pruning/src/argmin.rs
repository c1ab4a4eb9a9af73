//! The index of the lowest score, with the tie rule that every method here shares.

/// The index with the lowest score. \[R\] Ties go to the index that comes first; NaN counts as infinity, so such a
/// token is taken last. `None` if there are no scores.
pub(crate) fn argmin(scores: impl Iterator<Item = (usize, f32)>) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, score) in scores {
        let score = if score.is_nan() { f32::INFINITY } else { score };
        if best.is_none_or(|(_, lowest)| score < lowest) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_and_numbers_that_are_none() {
        assert_eq!(argmin([f32::NAN, 2.0, 1.0, 1.0].into_iter().enumerate()), Some(2));
        assert_eq!(argmin([f32::NAN, f32::NAN].into_iter().enumerate()), Some(0));
        assert_eq!(argmin(std::iter::empty()), None);
    }
}
