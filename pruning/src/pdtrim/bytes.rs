//! Bytes of KV that a plan sends, as a share of the KV of the unpruned model's prompt.

/// `((D - S) + r S) / L`: keys and values of blocks that decode drops are not sent, and `S` of the kept ones send the
/// share `r` of their tokens. All layers have rows of the same size.
///
/// The paper's reduction of 4.95 times is a share of 0.202: with `L = 32`, `D = 26`, 21 layers at `r = 0.07` or 24 at
/// 0.19. (Inferred from its abstract; the paper gives no such numbers.)
///
/// # Panics
/// If there are no layers, or `selected <= kept <= layers` does not hold.
pub fn bytes_fraction(layers: usize, kept: usize, selected: usize, keep: f64) -> f64 {
    assert!(layers > 0 && selected <= kept && kept <= layers, "selected layers are among kept, kept among all");
    ((kept - selected) as f64 + keep * selected as f64) / layers as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ratio() {
        assert!((1.0 / 4.95 - 0.202f64).abs() < 1e-4);
        assert!((bytes_fraction(32, 26, 21, 0.07) - 0.202).abs() < 5e-4);
        assert!((bytes_fraction(32, 26, 24, 0.19) - 0.205).abs() < 5e-4);
    }

    #[test]
    fn the_limits() {
        assert_eq!(bytes_fraction(32, 32, 0, 0.07), 1.0);
        assert_eq!(bytes_fraction(32, 16, 0, 0.07), 0.5);
        assert_eq!(bytes_fraction(32, 32, 32, 0.25), 0.25);
        assert_eq!(bytes_fraction(32, 0, 0, 0.25), 0.0);
    }
}
