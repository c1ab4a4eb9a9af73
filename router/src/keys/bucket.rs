//! A token bucket: an amount that fills at a steady rate up to what one minute brings. Plain data; the time comes in as
//! an argument.
//!
//! Amounts are whole numbers of nanosecond shares, so that nothing is lost to rounding: after the wait that is told,
//! there is as much as was told.

use std::time::Duration;

use tokio::time::Instant;

/// Shares of one unit: the nanoseconds of a minute, since `per_minute` units come in a minute.
const UNIT: i128 = 60_000_000_000;

/// The amount that is left of a limit.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_minute: u32,
    /// Shares that were there at `at`; negative after a charge of more than there was.
    shares: i128,
    at: Instant,
}

/// A bucket as its holder is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Units in a minute.
    pub limit: u32,
    /// Whole units that are left.
    pub remaining: u32,
    /// Time after which all of the limit is there, if nothing is used meanwhile.
    pub full_in: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn full(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, shares: i128::from(per_minute) * UNIT, at: now }
    }

    /// Changes the limit. What is left stays, as far as the new limit allows.
    pub fn resize(&mut self, per_minute: u32, now: Instant) {
        self.fill(now);
        self.per_minute = per_minute;
        self.shares = self.shares.min(self.capacity());
    }

    /// Whether one unit is there; if not, the time after which it will be.
    pub fn has_one(&self, now: Instant) -> Result<(), Duration> {
        let lacking = UNIT - self.shares_at(now);
        if lacking <= 0 { Ok(()) } else { Err(self.time_for(lacking)) }
    }

    /// Takes `units`, also those that are not there.
    pub fn charge(&mut self, units: u64, now: Instant) {
        self.fill(now);
        self.shares = self.shares.saturating_sub(i128::from(units) * UNIT);
    }

    /// Gives back `units` that were taken.
    pub fn refund(&mut self, units: u64, now: Instant) {
        self.fill(now);
        self.shares = self.shares.saturating_add(i128::from(units) * UNIT).min(self.capacity());
    }

    /// What is left.
    pub fn level(&self, now: Instant) -> Level {
        let shares = self.shares_at(now);
        Level {
            limit: self.per_minute,
            remaining: u32::try_from(shares.max(0) / UNIT).unwrap_or(u32::MAX),
            full_in: self.time_for(self.capacity() - shares),
        }
    }

    fn fill(&mut self, now: Instant) {
        self.shares = self.shares_at(now);
        self.at = self.at.max(now);
    }

    fn shares_at(&self, now: Instant) -> i128 {
        let nanoseconds = now.saturating_duration_since(self.at).as_nanos();
        let come = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_mul(self.per_minute.into());
        self.shares.saturating_add(come).min(self.capacity())
    }

    fn capacity(&self) -> i128 {
        i128::from(self.per_minute) * UNIT
    }

    /// The time in which so many shares come, rounded up.
    fn time_for(&self, shares: i128) -> Duration {
        let rate = i128::from(self.per_minute.max(1));
        let nanoseconds = shares.max(0).saturating_add(rate - 1) / rate;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_minutes_worth_is_there_at_once_and_comes_back_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::full(60, start);
        for _ in 0..60 {
            bucket.has_one(start).unwrap();
            bucket.charge(1, start);
        }
        assert_eq!(bucket.has_one(start), Err(seconds(1)));
        assert_eq!(bucket.level(start), Level { limit: 60, remaining: 0, full_in: seconds(60) });
        assert_eq!(bucket.has_one(start + Duration::from_millis(999)), Err(Duration::from_millis(1)));
        bucket.has_one(start + seconds(1)).unwrap();
        assert_eq!(bucket.level(start + seconds(31)).remaining, 31);
        assert_eq!(bucket.level(start + seconds(10_000)).remaining, 60, "no more than a minute's worth");
    }

    #[test]
    fn a_debt_is_paid_before_the_next_unit() {
        let start = Instant::now();
        let mut bucket = Bucket::full(100, start);
        bucket.charge(400, start);
        assert_eq!(bucket.level(start).remaining, 0);
        assert_eq!(bucket.has_one(start), Err(Duration::from_millis(180_600)));
        bucket.refund(350, start);
        assert_eq!(bucket.level(start).remaining, 50);
        bucket.refund(1_000, start);
        assert_eq!(bucket.level(start).remaining, 100);
    }

    #[test]
    fn a_new_limit_keeps_what_is_left() {
        let start = Instant::now();
        let mut bucket = Bucket::full(100, start);
        bucket.charge(90, start);
        bucket.resize(1_000, start);
        assert_eq!(bucket.level(start).remaining, 10);
        bucket.resize(5, start);
        assert_eq!(bucket.level(start), Level { limit: 5, remaining: 5, full_in: Duration::ZERO });
    }

    #[test]
    fn a_clock_that_stands_or_turns_back_brings_nothing() {
        let start = Instant::now() + seconds(100);
        let mut bucket = Bucket::full(1, start);
        bucket.charge(1, start);
        bucket.charge(0, start - seconds(50));
        assert_eq!(bucket.has_one(start), Err(seconds(60)));
    }

    proptest! {
        /// Over any span, no more is taken than a full bucket and what came in meanwhile.
        #[test]
        fn what_is_taken_is_bounded(
            per_minute in 1u32..2_000_000_000,
            steps in proptest::collection::vec((0u64..2_000_000_000, 1usize..5), 1..200),
        ) {
            let start = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::full(per_minute, start), start, 0u128);
            for (nanoseconds, tries) in steps {
                now += Duration::from_nanos(nanoseconds);
                for _ in 0..tries {
                    match bucket.has_one(now) {
                        Ok(()) => {
                            bucket.charge(1, now);
                            taken += 1;
                        }
                        Err(wait) => {
                            prop_assert!(bucket.has_one(now + wait).is_ok(), "the wait that is told is enough");
                            let short = wait.saturating_sub(Duration::from_nanos(1));
                            prop_assert!(wait.is_zero() || bucket.has_one(now + short).is_err(), "and no less is");
                        }
                    }
                }
            }
            let come = u128::from(per_minute) * (now - start).as_nanos() / UNIT as u128;
            prop_assert!(taken <= u128::from(per_minute) + come);
        }
    }
}
