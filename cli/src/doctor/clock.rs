//! Check whether clocks agree. No answer depends on it, but logs, receipts and dashboards of several machines do, and
//! so do the dates in certificates.

use super::check::Check;

const NAME: &str = "clocks";
/// Largest acceptable difference: no machine with a time service exceeds it.
const APART_MAX_MS: i64 = 2_000;

/// Another machine's clock relative to this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// How far the clock is ahead, in milliseconds; negative if it is behind.
    pub ahead_ms: i64,
    /// Uncertainty of `ahead_ms` in either direction, in milliseconds.
    pub uncertain_ms: i64,
}

impl Clock {
    /// Compares a clock that said `said` between `asked` and `heard`, all in milliseconds since 1970; `None` if it says
    /// 0.
    pub fn read(said: u64, asked: u64, heard: u64) -> Option<Self> {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let half = heard.saturating_sub(asked) / 2;
        (said > 0).then(|| Self { ahead_ms: signed(said) - signed(asked + half), uncertain_ms: signed(half) + 1 })
    }

    /// Compares a clock that only tells whole seconds, in the same way.
    pub fn of_seconds(said: u64, asked: u64, heard: u64) -> Option<Self> {
        let clock = Self::read(said.saturating_mul(1_000).saturating_add(500), asked, heard)?;
        Some(Self { uncertain_ms: clock.uncertain_ms + 500, ..clock })
    }

    fn is_off(self) -> bool {
        self.ahead_ms.abs() - self.uncertain_ms > APART_MAX_MS
    }
}

/// One check for all clocks; `None` if there is no other clock.
pub fn verdict(clocks: &[(String, Clock)]) -> Option<Check> {
    let off: Vec<String> =
        clocks.iter().filter(|(_, clock)| clock.is_off()).map(|(who, clock)| tell(who, *clock)).collect();
    let widest = clocks.iter().map(|(_, clock)| clock.ahead_ms.abs()).max()?;
    Some(if off.is_empty() {
        Check::ok(NAME, format!("{} compared with this machine's, none more than {widest} ms off", clocks.len()))
    } else {
        let advice = "let every machine, this one too, follow one time service (chrony, systemd-timesyncd): \
                      `timedatectl` shows whether it does";
        Check::failed(NAME, off.join("; "), advice)
    })
}

fn tell(who: &str, clock: Clock) -> String {
    let seconds = clock.ahead_ms.abs() as f64 / 1e3;
    let way = if clock.ahead_ms > 0 { "ahead of" } else { "behind" };
    format!("{who} is {seconds:.1} s {way} this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_in_the_middle_of_the_question() {
        assert_eq!(Clock::read(1_000_500, 1_000_000, 1_000_100), Some(Clock { ahead_ms: 450, uncertain_ms: 51 }));
        assert_eq!(Clock::read(0, 1, 2), None);
        assert_eq!(Clock::of_seconds(1_000, 1_000_200, 1_000_200), Some(Clock { ahead_ms: 300, uncertain_ms: 501 }));
    }

    #[test]
    fn only_what_is_surely_off_fails() {
        let clock = |ahead_ms, uncertain_ms| ("d:2".to_owned(), Clock { ahead_ms, uncertain_ms });
        assert_eq!(verdict(&[]), None);
        assert!(verdict(&[clock(1_900, 1), clock(-2_400, 501)]).unwrap().ok);
        let check = verdict(&[clock(3_600_000, 1), clock(0, 1), clock(-5_000, 1)]).unwrap();
        assert!(
            !check.ok && check.found == "d:2 is 3600.0 s ahead of this machine; d:2 is 5.0 s behind this machine",
            "{check:?}"
        );
    }
}
