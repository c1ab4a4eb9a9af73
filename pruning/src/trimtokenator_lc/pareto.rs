//! Ordering by non-dominated fronts of two objectives, both to be maximised.

/// Indices of the tokens, best first.
///
/// \[P\] Pareto selection over diversity and alignment. \[R\] Front by front; within a front by the sum of the two
/// ranks, then by index. The ranks are places among all tokens (how many have a strictly better value): within a front
/// of two objectives a token that wins on one loses on the other, so ranks within the front would add up to the same
/// for all. NaN is the worst value.
pub(super) fn order(first: &[f32], second: &[f32]) -> Vec<usize> {
    let number = |value: &f32| if value.is_nan() { f32::NEG_INFINITY } else { *value };
    let first: Vec<f32> = first.iter().map(number).collect();
    let second: Vec<f32> = second.iter().map(number).collect();
    let fronts = fronts(&first, &second);
    let (by_first, by_second) = (ranks(&first), ranks(&second));
    let mut order: Vec<usize> = (0..fronts.len()).collect();
    order.sort_by_key(|&index| (fronts[index], by_first[index] + by_second[index], index));
    order
}

/// The front of each token: 0 for those that no other token dominates (is as good in both objectives and better in
/// one), 1 for those that only front 0 dominates, and so on. O(n log n).
fn fronts(first: &[f32], second: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_by(|&a, &b| first[b].total_cmp(&first[a]).then(second[b].total_cmp(&second[a])));
    let mut fronts = vec![0; first.len()];
    // Best second objective in each front so far; it never rises from one front to the next.
    let mut best: Vec<f32> = Vec::new();
    let mut previous: Option<usize> = None;
    for index in order {
        let same = previous.filter(|&p| first[p] == first[index] && second[p] == second[index]);
        fronts[index] = match same {
            Some(twin) => fronts[twin],
            // Every earlier token is as good in the first objective, so a front with as good a second objective
            // dominates this one.
            None => best.partition_point(|&shown| shown >= second[index]),
        };
        match best.get_mut(fronts[index]) {
            Some(shown) => *shown = shown.max(second[index]),
            None => best.push(second[index]),
        }
        previous = Some(index);
    }
    fronts
}

/// The rank of each value: how many values are strictly higher.
fn ranks(values: &[f32]) -> Vec<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    values.iter().map(|value| sorted.partition_point(|other| other > value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Removes the non-dominated points repeatedly until none is left.
    fn naive_fronts(first: &[f32], second: &[f32]) -> Vec<usize> {
        let dominates = |a: usize, b: usize| {
            first[a] >= first[b] && second[a] >= second[b] && (first[a] > first[b] || second[a] > second[b])
        };
        let mut fronts = vec![usize::MAX; first.len()];
        for front in 0..first.len() {
            let left: Vec<usize> = (0..first.len()).filter(|&i| fronts[i] == usize::MAX).collect();
            for &i in left.iter().filter(|&&i| !left.iter().any(|&other| dominates(other, i))) {
                fronts[i] = front;
            }
        }
        fronts
    }

    proptest! {
        /// Uses small whole numbers, so that there are ties and duplicates.
        #[test]
        fn fronts_are_those_of_the_definition(points in prop::collection::vec((0u8..7, 0u8..7), 0..40)) {
            let (first, second): (Vec<f32>, Vec<f32>) =
                points.iter().map(|&(a, b)| (f32::from(a), f32::from(b))).unzip();
            prop_assert_eq!(fronts(&first, &second), naive_fronts(&first, &second));
            let order = order(&first, &second);
            let front = |i: usize| naive_fronts(&first, &second)[i];
            prop_assert!(order.windows(2).all(|pair| front(pair[0]) <= front(pair[1])));
        }
    }

    #[test]
    fn the_cut_prefers_the_balanced() {
        // All points form one front; 1 is second best in both objectives of four, the ends are best in one and worst in
        // the other.
        let (first, second) = ([3.0, 2.0, 0.0, 1.0], [0.0, 2.0, 3.0, 1.0]);
        assert_eq!(order(&first, &second), [1, 0, 2, 3]);
        assert_eq!(order(&[f32::NAN, 1.0], &[f32::NAN, 1.0]), [1, 0]);
    }
}
