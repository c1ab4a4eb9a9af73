//! The order in which waiting requests get their turns. Plain data; the time comes in as an argument.
//!
//! The next request is the one with the smallest virtual time: its arrival, put off by its rank's penalty. Penalties
//! are bounded, so a request that waits longer than [`Rank::SPREAD`] is before every new one, and none waits for ever.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::rank::Rank;

const SECOND_US: i64 = 1_000_000;

/// Waiting requests, each with what its turn is handed over by.
#[derive(Debug)]
pub struct Line<T> {
    /// Time from which virtual times count.
    since: Instant,
    joined: u64,
    waiting: BTreeMap<Place, Waiter<T>>,
}

/// A place in the line, by which its holder leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Microseconds since the line began, the penalty included.
    virtual_us: i64,
    /// Number of the request, which decides among equals.
    number: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    deadline: Instant,
    hand: T,
}

impl<T> Line<T> {
    /// An empty line that begins at `now`.
    pub fn new(now: Instant) -> Self {
        Self { since: now, joined: 0, waiting: BTreeMap::new() }
    }

    /// Adds a request that arrived at `arrival` and is of no use after `deadline`.
    pub fn join(&mut self, rank: Rank, arrival: Instant, deadline: Instant, hand: T) -> Place {
        let arrived = arrival.saturating_duration_since(self.since).as_micros();
        let arrived = i64::try_from(arrived).unwrap_or(i64::MAX);
        let virtual_us = arrived.saturating_add(rank.penalty_s().saturating_mul(SECOND_US));
        self.joined += 1;
        let place = Place { virtual_us, number: self.joined };
        self.waiting.insert(place, Waiter { deadline, hand });
        place
    }

    /// Removes a request that waits no more; `None` if its turn has come already.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        self.waiting.remove(&place).map(|waiter| waiter.hand)
    }

    /// Removes and returns the next request, and drops those before it whose deadlines have passed.
    pub fn next(&mut self, now: Instant) -> Option<T> {
        loop {
            let (_, waiter) = self.waiting.pop_first()?;
            if waiter.deadline > now {
                return Some(waiter.hand);
            }
        }
    }

    /// Number of waiting requests.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::request::Class;

    /// A request of a property test: milliseconds since the one before it, priority, whether it is batch.
    type Arrival = (u64, i64, bool);

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Asked {
        number: usize,
        at: Instant,
        rank: Rank,
    }

    fn rank(batch: bool, priority: i64) -> Rank {
        let class = if batch { Class::Batch } else { Class::Interactive };
        Rank::new(Class::Interactive, class, priority)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn interactive_goes_first_until_batch_has_waited_long_enough() {
        let start = Instant::now();
        let mut line = Line::new(start);
        let late = start + seconds(1_000);
        line.join(rank(true, 0), start, late, "batch");
        line.join(rank(false, 0), start + seconds(9), late, "soon");
        line.join(rank(false, 0), start + seconds(11), late, "later");
        line.join(rank(false, -10), start + seconds(18), late, "pushed");
        let order: Vec<_> = std::iter::from_fn(|| line.next(start + seconds(20))).collect();
        assert_eq!(order, ["pushed", "soon", "batch", "later"]);
    }

    #[test]
    fn equals_keep_their_order_and_who_left_or_is_overdue_is_not_called() {
        let start = Instant::now();
        let mut line = Line::new(start);
        let late = start + seconds(1_000);
        let places = ["a", "b", "c"].map(|name| line.join(Rank::default(), start, late, name));
        line.join(Rank::default(), start, start + seconds(5), "overdue");
        line.join(Rank::default(), start, late, "last");
        assert_eq!(line.leave(places[1]), Some("b"));
        assert_eq!((line.leave(places[1]), line.len()), (None, 4));
        let order: Vec<_> = std::iter::from_fn(|| line.next(start + seconds(5))).collect();
        assert_eq!((order, line.len()), (vec!["a", "c", "last"], 0));
    }

    proptest! {
        /// One request is served for each that arrives, behind a crowd that never gets shorter.
        #[test]
        fn the_line_is_in_order_and_nobody_starves(
            arrivals in proptest::collection::vec((0u64..3_000, -20i64..80, any::<bool>()), 1..200),
            crowd in 1usize..20,
        ) {
            check(&arrivals, crowd)?;
        }
    }

    fn check(arrivals: &[Arrival], crowd: usize) -> Result<(), TestCaseError> {
        let start = Instant::now();
        let (mut line, mut now) = (Line::new(start), start);
        let mut waiting: Vec<Asked> = Vec::new();
        let serve = |line: &mut Line<Asked>, waiting: &mut Vec<Asked>, now: Instant| {
            let Some(next) = line.next(now) else { return Ok(()) };
            waiting.retain(|one| one.number != next.number);
            let due = |one: &Asked| (one.at - start).as_millis() as i64 + one.rank.penalty_s() * 1_000;
            for one in waiting.iter() {
                prop_assert!((due(&next), next.number) < (due(one), one.number), "{next:?} went before {one:?}");
                prop_assert!(next.at <= one.at + Rank::SPREAD, "{next:?} overtook {one:?}");
            }
            Ok(())
        };
        for (number, &(after, priority, batch)) in arrivals.iter().enumerate() {
            now += Duration::from_millis(after);
            let asked = Asked { number, at: now, rank: rank(batch, priority) };
            line.join(asked.rank, now, now + seconds(100_000), asked);
            waiting.push(asked);
            if waiting.len() > crowd {
                serve(&mut line, &mut waiting, now)?;
            }
        }
        while line.len() > 0 {
            serve(&mut line, &mut waiting, now)?;
        }
        prop_assert!(waiting.is_empty(), "everybody was served");
        Ok(())
    }
}
