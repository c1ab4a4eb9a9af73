//! The number of tokens that a keep rate leaves.

/// `round(keep * tokens)`, but at least one token of a picture that has any, and at most all.
///
/// LLaVA-1.5's published budget: `kept(576, 1.0 / 9.0) == 64`, 88.9% removed.
pub fn kept(tokens: usize, keep: f64) -> usize {
    ((tokens as f64 * keep).round() as usize).clamp(tokens.min(1), tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_budget() {
        assert_eq!(kept(576, 1.0 / 9.0), 64);
        assert_eq!(kept(144, 0.111), 16);
    }

    #[test]
    fn never_none_and_never_more_than_there_are() {
        assert_eq!(kept(144, 1e-9), 1);
        assert_eq!(kept(144, 1.0), 144);
        assert_eq!(kept(0, 0.5), 0);
    }
}
