//! Links that failed lately. For some time such a link is the last choice of every request, not only of the request
//! that failed. Plain data with at most one entry for each link; the time comes in as an argument.
//!
//! ```text
//!   usable ── a shipment failed ──▶ rests (5 s, doubled up to 5 min) ── over ──▶ one request tries it
//!      ▲                               ▲                                            │
//!      │                               └────────────── failed again ────────────────┤
//!      └────────────────────────────── shipped ─────────────────────────────────────┘
//! ```
//!
//! Both nodes may answer the router while no data passes between them; the router's probes do not notice that.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Rest after a first failure; each further failure doubles it.
const REST_FIRST: Duration = Duration::from_secs(5);
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(300);
/// Time for which other requests avoid a link while one request tries it.
const TRIAL: Duration = Duration::from_secs(5);

/// One link's failures.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// Failures in a row.
    failures: u32,
    /// End of the rest.
    until: Instant,
    /// Whether one request tries the link.
    is_tried: bool,
}

/// Links that failed and have not shipped since, by prefill and decode address.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    by_prefill: BTreeMap<String, BTreeMap<String, Fault>>,
}

impl Faults {
    /// Records that a shipment over this link failed.
    pub fn failed(&mut self, prefill: &str, decode: &str, now: Instant) {
        let faults = self.by_prefill.entry(prefill.to_owned()).or_default();
        let fault = faults.entry(decode.to_owned()).or_insert(Fault { failures: 0, until: now, is_tried: false });
        // Requests that fail together count once, and so do requests that use a resting link because there is no other.
        if fault.is_tried || fault.until <= now {
            let failures = fault.failures.saturating_add(1);
            *fault = Fault { failures, until: now + rest(failures), is_tried: false };
        }
    }

    /// Records that a shipment over this link arrived: the link is usable again.
    pub fn mended(&mut self, prefill: &str, decode: &str) {
        if let Some(faults) = self.by_prefill.get_mut(prefill) {
            faults.remove(decode);
        }
    }

    /// Records that a request was placed on the link. If its rest is over this is a trial, and for the time of `TRIAL`
    /// other requests avoid the link, unless the outcome is known before.
    pub fn tried(&mut self, prefill: &str, decode: &str, now: Instant) {
        let fault = self.by_prefill.get_mut(prefill).and_then(|faults| faults.get_mut(decode));
        if let Some(fault) = fault.filter(|fault| fault.until <= now) {
            (fault.until, fault.is_tried) = (now + TRIAL, true);
        }
    }

    /// Time for which the link remains the last choice; `None` if it does not rest.
    pub fn rest(&self, prefill: &str, decode: &str, now: Instant) -> Option<Duration> {
        let until = self.by_prefill.get(prefill)?.get(decode)?.until;
        Some(until.saturating_duration_since(now)).filter(|rest| !rest.is_zero())
    }

    /// Removes links that have an end for which `is_known` is false.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.by_prefill.retain(|prefill, faults| {
            faults.retain(|decode, _| is_known(decode));
            is_known(prefill) && !faults.is_empty()
        });
    }

    /// The resting links by prefill and decode address, each with its remaining rest.
    pub fn resting(&self, now: Instant) -> impl Iterator<Item = (&str, &str, Duration)> {
        self.by_prefill.iter().flat_map(move |(prefill, faults)| {
            faults.iter().filter_map(move |(decode, fault)| {
                let rest = fault.until.saturating_duration_since(now);
                (!rest.is_zero()).then_some((prefill.as_str(), decode.as_str(), rest))
            })
        })
    }
}

fn rest(failures: u32) -> Duration {
    REST_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_link_that_failed_rests_longer_each_time_and_others_do_not() {
        let (mut faults, mut now) = (Faults::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..9 {
            faults.failed("p0", "d0", now);
            let rest = faults.rest("p0", "d0", now).unwrap();
            assert_eq!((faults.rest("p0", "d1", now), faults.rest("p1", "d0", now)), (None, None));
            rests.push(rest.as_secs());
            now += rest;
            assert_eq!(faults.rest("p0", "d0", now), None);
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn one_request_tries_a_link_that_has_rested() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        faults.failed("p", "d", now);
        faults.tried("p", "d", now);
        assert_eq!(
            faults.rest("p", "d", now),
            Some(REST_FIRST),
            "while it rests, being used for want of others is no trial"
        );
        let later = now + REST_FIRST;
        faults.tried("p", "d", later);
        assert!(faults.rest("p", "d", later + SECOND).is_some(), "the others stay away");
        faults.failed("p", "d", later + SECOND);
        assert_eq!(faults.rest("p", "d", later + SECOND), Some(REST_FIRST * 2), "the trial failed");
        faults.mended("p", "d");
        assert_eq!(faults.rest("p", "d", later + SECOND), None);
        faults.tried("p", "d", later);
        assert_eq!(faults.rest("p", "d", later + SECOND), None, "a sound link needs no trial");
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        (0..9).for_each(|_| faults.failed("p", "d", now));
        assert_eq!(faults.rest("p", "d", now), Some(REST_FIRST));
    }

    #[test]
    fn links_of_nodes_that_left_are_forgotten() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        faults.failed("p0", "d0", now);
        faults.failed("p1", "d1", now);
        assert_eq!(faults.resting(now).count(), 2);
        faults.retain(|address| !address.ends_with('1'));
        let resting: Vec<_> = faults.resting(now).map(|(prefill, decode, _)| (prefill, decode)).collect();
        assert_eq!(resting, [("p0", "d0")]);
    }
}
