//! Conversion of cosines to similarities: the softmax over a row, and the treatment of values that are not finite.

/// Lowest temperature; below it a softmax is a maximum, and dividing by it overflows.
pub(super) const COLDEST: f32 = 1e-3;

/// The requested temperature, raised to at least [`COLDEST`].
pub(super) fn temperature(asked: f32) -> f32 {
    // `max` of NaN and a number is the number.
    asked.max(COLDEST)
}

/// A cosine clamped to [-1, 1]; 0 if the token has values that are not finite.
pub(super) fn cosine(product: f32) -> f32 {
    if product.is_finite() { product.clamp(-1.0, 1.0) } else { 0.0 }
}

/// Softmax of cosines at a temperature, in place.
pub(super) fn softmax(row: &mut [f32], temperature: f32) {
    let highest = row.iter().copied().fold(-1f32, f32::max);
    let mut sum = 0f64;
    for value in row.iter_mut() {
        *value = ((*value - highest) / temperature).exp();
        sum += f64::from(*value);
    }
    let scale = (1.0 / sum) as f32;
    row.iter_mut().for_each(|value| *value *= scale);
}

/// Similarity of every token to every facility, `[n facilities, n tokens]`, from a symmetric matrix of cosines.
///
/// Facilities are the rows because a gain reads one facility's similarities to all tokens. The softmax runs over the
/// facilities of a token, down the columns.
pub(super) fn vision(mut cosines: Vec<f32>, tokens: usize, softmax_at: Option<f32>) -> Vec<f32> {
    let Some(asked) = softmax_at else {
        cosines.iter_mut().for_each(|product| *product = cosine(*product).max(0.0));
        return cosines;
    };
    let temperature = temperature(asked);
    // The highest cosine of a row is 1, the token's with itself; in a symmetric matrix row sums equal column sums.
    cosines.iter_mut().for_each(|product| *product = ((cosine(*product) - 1.0) / temperature).exp());
    // A row that underflows completely (a zero row at a very low temperature) has similarity 0 to everything.
    let scale = |sum: f64| if sum > 1e-30 { (1.0 / sum) as f32 } else { 0.0 };
    let rows = cosines.chunks_exact(tokens.max(1));
    let scales: Vec<f32> = rows.map(|row| scale(row.iter().map(|&value| f64::from(value)).sum())).collect();
    for row in cosines.chunks_exact_mut(tokens.max(1)) {
        row.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale);
    }
    cosines
}

/// Entropy in nats of a row that sums to one.
pub(super) fn entropy(row: &[f32]) -> f64 {
    row.iter().filter(|&&p| p > 0.0).map(|&p| f64::from(p)).map(|p| -p * p.ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vision_rows_sum_to_one_over_facilities() {
        let cosines = vec![1.0, 0.5, -0.2, 0.5, 1.0, 0.3, -0.2, 0.3, 1.0];
        let found = vision(cosines.clone(), 3, Some(0.2));
        for token in 0..3 {
            let total: f64 = (0..3).map(|j| (f64::from(cosines[token * 3 + j]) / 0.2).exp()).sum();
            for facility in 0..3 {
                let expected = (f64::from(cosines[token * 3 + facility]) / 0.2).exp() / total;
                assert!((f64::from(found[facility * 3 + token]) - expected).abs() < 1e-6);
            }
        }
        assert_eq!(vision(vec![f32::NAN, -0.5, 2.0, 0.5], 2, None), [0.0, 0.0, 1.0, 0.5]);
        assert!(vision(vec![-1.0; 4], 2, Some(0.0)).iter().all(|value| value.is_finite()));
    }

    #[test]
    fn a_row_that_looks_everywhere_has_the_highest_entropy() {
        let mut flat = [0.1f32; 8];
        softmax(&mut flat, 0.02);
        assert!((entropy(&flat) - 8f64.ln()).abs() < 1e-6);
        let mut peaked = [1.0f32, -1.0, -1.0];
        softmax(&mut peaked, 0.02);
        assert!(entropy(&peaked) < 1e-6);
    }
}
