//! Order of measurement: policies take turns within each round, so that a slowdown of the machine affects all alike.

use std::ops::Range;

/// Default number of rounds when policies are compared.
const ROUNDS: u32 = 4;

/// Number of rounds that the requests of a scenario are spread over: no more than there are requests.
pub fn count(asked: Option<u32>, policies: usize, requests: u32) -> u32 {
    asked.unwrap_or(if policies > 1 { ROUNDS } else { 1 }).min(requests).max(1)
}

/// The requests of one round, which are the same for every policy.
pub fn requests(round: u32, rounds: u32, requests: u32) -> Range<u32> {
    let start = |round: u32| (u64::from(round) * u64::from(requests) / u64::from(rounds)) as u32;
    start(round)..start(round + 1)
}

/// The order of policies in one round: the first one of a round is last in the next, so that none always has the same
/// place.
pub fn turns(round: u32, policies: usize) -> impl Iterator<Item = usize> {
    (0..policies).map(move |turn| (turn + round as usize) % policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_share_all_requests_about_evenly() {
        for (rounds, all) in [(4, 32), (4, 30), (3, 3), (1, 7)] {
            let ranges: Vec<_> = (0..rounds).map(|round| requests(round, rounds, all)).collect();
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, all));
            let lengths = || ranges.iter().map(ExactSizeIterator::len);
            assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
        }
        assert_eq!((count(None, 1, 32), count(None, 3, 32), count(None, 3, 2), count(Some(8), 1, 32)), (1, 4, 2, 8));
    }

    #[test]
    fn everyone_has_every_turn() {
        let order: Vec<Vec<usize>> = (0..3).map(|round| turns(round, 3).collect()).collect();
        assert_eq!(order, [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }
}
