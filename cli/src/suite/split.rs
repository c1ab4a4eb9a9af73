//! Selection of a suite's cases.

use clap::ValueEnum;

/// One case in this many is for calibration.
const CALIBRATION_EVERY: usize = 4;

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// Every case.
    All,
    /// Every fourth, the first included: what plans are computed from.
    Calibration,
    /// The others: what plans are judged by.
    Test,
}

impl Split {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Split::All => "all",
            Split::Calibration => "calibration",
            Split::Test => "test",
        }
    }

    fn has(self, index: usize) -> bool {
        match self {
            Split::All => true,
            Split::Calibration => index.is_multiple_of(CALIBRATION_EVERY),
            Split::Test => !index.is_multiple_of(CALIBRATION_EVERY),
        }
    }
}

/// The cases of the split, at most `limit` of them. Suites are ordered by tag, so evenly spaced cases cover all tags.
pub fn choose<T>(cases: Vec<T>, split: Split, limit: Option<u32>) -> Vec<T> {
    let of_split: Vec<T> = (0..).zip(cases).filter(|(index, _)| split.has(*index)).map(|(_, case)| case).collect();
    let count = of_split.len();
    let wanted = limit.map_or(count, |limit| count.min(limit as usize));
    // The first index at or after each k * count / wanted is chosen.
    let is_chosen = |index: usize| (index * wanted) % count.max(1) < wanted;
    (0..).zip(of_split).filter(|(index, _)| is_chosen(*index)).map(|(_, case)| case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(count: usize, split: Split, limit: Option<u32>) -> Vec<usize> {
        choose((0..count).collect(), split, limit)
    }

    #[test]
    fn calibration_and_test_share_nothing() {
        assert_eq!(chosen(9, Split::Calibration, None), [0, 4, 8]);
        assert_eq!(chosen(9, Split::Test, None), [1, 2, 3, 5, 6, 7]);
        assert_eq!(chosen(3, Split::All, None), [0, 1, 2]);
        assert!(chosen(1, Split::Test, None).is_empty());
        for split in [Split::All, Split::Calibration, Split::Test] {
            assert_eq!(Split::from_str(split.name(), false), Ok(split));
        }
    }

    #[test]
    fn a_limit_takes_cases_at_even_distances() {
        assert_eq!(chosen(10, Split::All, Some(5)), [0, 2, 4, 6, 8]);
        assert_eq!(chosen(10, Split::Test, Some(2)), [1, 6]);
        for count in 1..60 {
            for limit in 1..70 {
                let found = chosen(count, Split::All, Some(limit));
                assert_eq!(found.len(), count.min(limit as usize), "{limit} of {count}");
                let gaps: Vec<usize> = found.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let widest = gaps.iter().max().unwrap_or(&0);
                assert!(widest - gaps.iter().min().unwrap_or(&0) <= 1, "{limit} of {count}: {found:?}");
            }
        }
    }
}
