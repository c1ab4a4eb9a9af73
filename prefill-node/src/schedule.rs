//! The prefill schedule: how many rows of each prompt the next step computes. Plain data, tested without a model or a
//! runtime.

/// The oldest prompt gets at least one part in this many of a step, however many short prompts come after it.
const SHARE_OF_OLDEST: usize = 4;

/// Rows that the next step computes of each prompt. `remaining` is the number of rows that each has left, in order of
/// arrival; `budget` is the total number of rows of a step.
///
/// The oldest prompt always advances. The rest of the budget goes to the prompts that are nearest to their first token,
/// so that a long prompt does not stall short ones, and what those leave goes to the longer ones.
pub fn chunks(remaining: &[usize], budget: usize) -> Vec<usize> {
    let mut granted = vec![0; remaining.len()];
    let mut left = budget.max(1);
    if let Some(&oldest) = remaining.first() {
        granted[0] = left.div_ceil(SHARE_OF_OLDEST).min(oldest);
        left -= granted[0];
    }
    let mut nearest: Vec<usize> = (0..remaining.len()).collect();
    nearest.sort_by_key(|&prompt| remaining[prompt]);
    for prompt in nearest {
        let more = (remaining[prompt] - granted[prompt]).min(left);
        granted[prompt] += more;
        left -= more;
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_prompt_takes_the_whole_step() {
        assert_eq!(chunks(&[8_000], 512), [512]);
        assert_eq!(chunks(&[100], 512), [100]);
        assert_eq!(chunks(&[], 512), Vec::<usize>::new());
    }

    #[test]
    fn a_long_prompt_does_not_stall_short_ones_nor_they_it() {
        let mut remaining = vec![8_000];
        remaining.extend([100; 10]);
        let granted = chunks(&remaining, 512);
        assert_eq!(granted[..5], [128, 100, 100, 100, 84]);
        assert_eq!(granted.iter().sum::<usize>(), 512);
        // Ten short prompts of 1,000 rows in all are done after three steps.
        for _ in 0..3 {
            let granted = chunks(&remaining, 512);
            for (rest, rows) in remaining.iter_mut().zip(granted) {
                *rest -= rows;
            }
        }
        assert_eq!(remaining[1..].iter().sum::<usize>(), 0);
        assert!(remaining[0] <= 8_000 - 3 * 128);
    }

    proptest::proptest! {
        #[test]
        fn the_budget_is_used_and_never_exceeded(
            remaining in proptest::collection::vec(1usize..3_000, 0..30), budget in 1usize..1_000,
        ) {
            let granted = chunks(&remaining, budget);
            let total: usize = granted.iter().sum();
            proptest::prop_assert_eq!(total, budget.min(remaining.iter().sum()));
            proptest::prop_assert!(granted.iter().zip(&remaining).all(|(rows, rest)| rows <= rest));
            proptest::prop_assert!(granted.first().is_none_or(|rows| *rows > 0));
        }
    }
}
