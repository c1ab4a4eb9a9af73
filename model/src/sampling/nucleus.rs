//! The candidates that remain after min_p, top_k and top_p, computed without sorting the vocabulary.

/// A token with its logit.
type Candidate = (u32, f32);

/// Orders candidates most likely first; equal ones by id.
fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Tokens that may be drawn, with unnormalised probabilities; at least one if any logit is a finite number.
///
/// The tokens are sorted by likelihood where top_k or top_p needed it, else by id.
pub(crate) fn candidates(logits: &[f32], temperature: f32, min_p: f32, top_k: u32, top_p: f32) -> Vec<(u32, f64)> {
    // A banned token (-inf) or one whose logit is NaN is no candidate.
    let highest = logits.iter().copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    if !highest.is_finite() {
        return Vec::new();
    }
    let weight = |logit: f32| (f64::from(logit - highest) / f64::from(temperature)).exp();
    // min_p as a bound on the logit, which saves an exponential for every token.
    let floor = if min_p > 0.0 { highest + min_p.ln() * temperature } else { f32::NEG_INFINITY };
    let mut left: Vec<Candidate> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| **logit > f32::NEG_INFINITY && **logit >= floor)
        .map(|(token, &logit)| (token as u32, logit))
        .collect();
    if top_k > 0 && (top_k as usize) < left.len() {
        left.select_nth_unstable_by(top_k as usize - 1, order);
        left.truncate(top_k as usize);
        left.sort_unstable_by(order);
    }
    if top_p < 1.0 {
        let enough = left.iter().map(|&(_, logit)| weight(logit)).sum::<f64>() * f64::from(top_p);
        cut_nucleus(&mut left, enough, weight);
    }
    left.into_iter().map(|(token, logit)| (token, weight(logit))).collect()
}

/// Keeps the shortest run of most likely candidates whose weights sum to `enough`, in order. Nuclei are mostly short,
/// so a short prefix is sorted first, and a longer one only if it does not suffice.
fn cut_nucleus(left: &mut Vec<Candidate>, enough: f64, weight: impl Fn(f32) -> f64) {
    let mut sorted = left.len().min(64);
    loop {
        if sorted < left.len() {
            left.select_nth_unstable_by(sorted - 1, order);
        }
        left[..sorted].sort_unstable_by(order);
        let mut sum = 0.0;
        // At least one token is kept, whatever `enough` is.
        let last = left[..sorted].iter().position(|&(_, logit)| {
            sum += weight(logit);
            sum >= enough
        });
        match last {
            Some(last) => return left.truncate(last + 1),
            // Rounding can leave the sum of all weights slightly below `enough`.
            None if sorted == left.len() => return,
            None => sorted = (sorted * 8).min(left.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(logits: &[f32], min_p: f32, top_k: u32, top_p: f32) -> Vec<u32> {
        candidates(logits, 1.0, min_p, top_k, top_p).into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn each_limit_cuts() {
        let logits = [1.0, 3.0, 2.0, 3.0, f32::NEG_INFINITY, f32::NAN];
        assert_eq!(ids(&logits, 0.0, 0, 1.0), [0, 1, 2, 3]);
        assert_eq!(ids(&logits, 0.0, 2, 1.0), [1, 3]);
        // Tokens 1 and 3 have 0.41 each, token 2 has 0.15.
        assert_eq!(ids(&logits, 0.0, 0, 0.9), [1, 3, 2]);
        assert_eq!(ids(&logits, 0.0, 0, 0.1), [1]);
        // Token 2 is 0.37 times as likely as token 1, token 0 is 0.14 times.
        assert_eq!(ids(&logits, 0.3, 0, 1.0), [1, 2, 3]);
        assert!(ids(&[f32::NAN; 3], 0.0, 0, 1.0).is_empty());
    }

    #[test]
    fn a_long_nucleus_equals_a_full_sort() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5000) as f32 / 5000.0).collect();
        let found = ids(&logits, 0.0, 0, 0.7);
        let mut sorted: Vec<Candidate> = logits.iter().enumerate().map(|(id, &logit)| (id as u32, logit)).collect();
        sorted.sort_unstable_by(order);
        assert!(found.len() > 2000);
        assert_eq!(found, sorted[..found.len()].iter().map(|(id, _)| *id).collect::<Vec<_>>());
    }
}
