//! How soon a request gets its turn at the nodes: a class and a wish become seconds. Plain data.

use std::time::Duration;

use crate::request::Class;

/// Seconds by which batch requests stand back.
const BATCH_S: i64 = 10;
/// Seconds by which a request may be put first.
const FIRST_S: i64 = 10;
/// Most seconds by which a request stands back. The bound keeps the wait of every request bounded.
const BACK_MAX_S: i64 = 60;

/// A request's place among those that wait: it is treated as if it had arrived so much later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rank {
    penalty_s: i64,
}

impl Rank {
    /// The longest time by which a later request may be put before an earlier one.
    pub const SPREAD: Duration = Duration::from_secs((FIRST_S + BACK_MAX_S) as u64);

    /// The rank of a request of class `asked` with a `priority` (lower is sooner), by a caller of class `caller`.
    /// A caller of class batch cannot put itself before its class.
    pub fn new(caller: Class, asked: Class, priority: i64) -> Self {
        let wished = penalty_s(asked.max(caller)).saturating_add(priority);
        let floor = if caller == Class::Batch { BATCH_S } else { -FIRST_S };
        Self { penalty_s: wished.clamp(floor, BACK_MAX_S) }
    }

    /// Seconds that count as waited less, or as waited more if they are negative.
    pub fn penalty_s(self) -> i64 {
        self.penalty_s
    }
}

fn penalty_s(class: Class) -> i64 {
    match class {
        Class::Interactive => 0,
        Class::Batch => BATCH_S,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_bounded_and_batch_callers_stay_behind() {
        let of = |caller, asked, priority| Rank::new(caller, asked, priority).penalty_s();
        assert_eq!(of(Class::Interactive, Class::Interactive, 0), 0);
        assert_eq!(of(Class::Interactive, Class::Batch, 0), BATCH_S);
        assert_eq!(of(Class::Interactive, Class::Interactive, i64::MIN), -FIRST_S);
        assert_eq!(of(Class::Interactive, Class::Batch, i64::MAX), BACK_MAX_S);
        assert_eq!(of(Class::Batch, Class::Interactive, -100), BATCH_S);
        assert_eq!(of(Class::Batch, Class::Interactive, 5), BATCH_S + 5);
        assert_eq!(Rank::default(), Rank::new(Class::Interactive, Class::Interactive, 0));
    }

    #[test]
    fn names_lead_back_to_their_classes() {
        for class in [Class::Interactive, Class::Batch] {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
        assert_eq!(Class::parse("Batch"), None);
    }
}
