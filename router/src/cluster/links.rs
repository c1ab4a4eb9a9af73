//! The rate and overlap of each link, measured from shipment reports and never configured. Plain data; the time comes
//! in as an argument.
//!
//! A report's rate is a lower bound: a shipment that waited for prefill's layers measures prefill, not the link. So a
//! shipment slower than the mean is weighted only by the bytes that computation did not hide, and a faster one by all
//! its bytes.

use std::{collections::BTreeMap, time::Duration};

use secateur_proto::v1::TransferReport;
use tokio::time::Instant;

/// Smallest shipment that is measured, in bytes: smaller ones are mostly round trips and do not show the rate.
const BYTES_MIN: u64 = 64 * 1024;
/// Bytes of a shipment that weighs a quarter in the mean; no shipment weighs more than half.
const BYTES_QUARTER: f64 = (1 << 20) as f64;
const WEIGHT_MAX: f64 = 0.5;
/// Age up to which a measurement is used. An older one is ignored, so that a link that was slow once is tried again.
const FRESH: Duration = Duration::from_secs(600);

/// One link, from a prefill node to a decode node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Exponentially weighted mean of the shipments' rates, by their bytes.
    pub bytes_per_s: f64,
    /// Mean of the shipments' overlaps, weighted likewise: the share of the time on the wire in which prefill still
    /// computed, [0, 1].
    pub overlap: f64,
    /// Shipments that were measured.
    pub shipments: u64,
    /// Bytes of the measured shipments.
    pub bytes: u64,
    last: Instant,
}

/// Shipments of one link that were too small to measure it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Small {
    /// Number of the shipments.
    pub shipments: u64,
    /// The highest rate of any of them. Mostly a round trip, it is a lower bound of the link's rate.
    pub fastest_bytes_per_s: f64,
}

/// All measured links, by prefill and decode address.
#[derive(Clone, Debug, Default)]
pub struct Links {
    by_prefill: BTreeMap<String, BTreeMap<String, Link>>,
    /// Shown to operators, and used for no decision.
    small: BTreeMap<(String, String), Small>,
}

impl Link {
    /// Time since the last measured shipment.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }

    fn first(report: &TransferReport, now: Instant) -> Self {
        let (bytes_per_s, overlap) = (rate(report), report.overlap.clamp(0.0, 1.0));
        Self { bytes_per_s, overlap, shipments: 1, bytes: report.bytes_sent, last: now }
    }

    fn add(&mut self, report: &TransferReport, now: Instant) {
        let (rate, overlap) = (rate(report), report.overlap.clamp(0.0, 1.0));
        let bytes = report.bytes_sent as f64;
        let telling = if rate < self.bytes_per_s { bytes * (1.0 - overlap) } else { bytes };
        self.bytes_per_s += weight(telling) * (rate - self.bytes_per_s);
        self.overlap += weight(bytes) * (overlap - self.overlap);
        self.shipments += 1;
        self.bytes = self.bytes.saturating_add(report.bytes_sent);
        self.last = now;
    }
}

impl Links {
    /// Adds the report of a complete shipment; one that is too small is only noted, and one without a usable rate is
    /// ignored.
    pub fn observe(&mut self, prefill: &str, decode: &str, report: &TransferReport, now: Instant) {
        let is_rate = rate(report).is_finite() && rate(report) > 0.0 && report.overlap.is_finite();
        if !is_rate {
            return;
        }
        if report.bytes_sent < BYTES_MIN {
            let small = self.small.entry((prefill.to_owned(), decode.to_owned())).or_default();
            small.shipments += 1;
            small.fastest_bytes_per_s = small.fastest_bytes_per_s.max(rate(report));
            return;
        }
        let links = self.by_prefill.entry(prefill.to_owned()).or_default();
        match links.get_mut(decode) {
            Some(link) => link.add(report, now),
            None => {
                links.insert(decode.to_owned(), Link::first(report, now));
            }
        }
    }

    /// Removes links that have an end for which `is_known` is false.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.by_prefill.retain(|prefill, links| {
            links.retain(|decode, _| is_known(decode));
            is_known(prefill) && !links.is_empty()
        });
        self.small.retain(|(prefill, decode), _| is_known(prefill) && is_known(decode));
    }

    /// The shipments of each link that were too small to measure it, by prefill and decode address.
    pub fn small(&self) -> impl Iterator<Item = (&str, &str, &Small)> {
        self.small.iter().map(|((prefill, decode), small)| (prefill.as_str(), decode.as_str(), small))
    }

    /// The measurements of a link, unless they are older than `FRESH`.
    pub fn fresh(&self, prefill: &str, decode: &str, now: Instant) -> Option<&Link> {
        self.by_prefill.get(prefill)?.get(decode).filter(|link| link.age(now) <= FRESH)
    }

    /// Every link by prefill and decode address, old ones included.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Link)> {
        self.by_prefill.iter().flat_map(|(prefill, links)| {
            links.iter().map(move |(decode, link)| (prefill.as_str(), decode.as_str(), link))
        })
    }
}

/// The report's rate in bytes per second.
fn rate(report: &TransferReport) -> f64 {
    report.link_mbit_s * 1e6 / 8.0
}

fn weight(bytes: f64) -> f64 {
    WEIGHT_MAX * bytes / (bytes + BYTES_QUARTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(bytes_sent: u64, link_mbit_s: f64, overlap: f64) -> TransferReport {
        TransferReport { bytes_sent, link_mbit_s, overlap, ..Default::default() }
    }

    fn after(reports: &[TransferReport]) -> Option<Link> {
        let (mut links, now) = (Links::default(), Instant::now());
        reports.iter().for_each(|report| links.observe("p", "d", report, now));
        links.fresh("p", "d", now).copied()
    }

    #[test]
    fn small_shipments_and_broken_rates_say_nothing() {
        let large = BYTES_MIN;
        for report in [report(large - 1, 8.0, 0.0), report(large, 0.0, 0.0), report(large, f64::NAN, 0.0)] {
            assert_eq!(after(&[report]), None);
        }
        let link = after(&[report(large, 8.0, 0.0)]).unwrap();
        assert_eq!((link.bytes_per_s, link.shipments, link.bytes), (1e6, 1, large));
    }

    #[test]
    fn small_shipments_are_noted_with_the_fastest() {
        let (mut links, now) = (Links::default(), Instant::now());
        for rate in [8.0, 24.0, 16.0] {
            links.observe("p", "d", &report(1_000, rate, 0.0), now);
        }
        let expected = Small { shipments: 3, fastest_bytes_per_s: 3e6 };
        assert_eq!(links.small().collect::<Vec<_>>(), [("p", "d", &expected)]);
        links.retain(|address| address != "d");
        assert_eq!(links.small().count(), 0);
    }

    #[test]
    fn large_shipments_move_the_mean_more_and_never_all_the_way() {
        let next = |bytes| after(&[report(1 << 20, 8.0, 0.0), report(bytes, 16.0, 0.0)]).unwrap().bytes_per_s;
        assert_eq!(next(1 << 20), 1.25e6);
        assert!(next(1 << 16) < 1.05e6);
        assert!(next(1 << 40) < 1.500_001e6 && next(1 << 40) > 1.49e6);
    }

    #[test]
    fn a_shipment_that_waited_for_prefill_does_not_slow_the_link() {
        let fast = report(1 << 20, 800.0, 0.0);
        let hidden = after(&[fast, report(1 << 20, 8.0, 1.0)]).unwrap();
        assert_eq!((hidden.bytes_per_s, hidden.overlap, hidden.shipments), (1e8, 0.25, 2));
        let exposed = after(&[fast, report(1 << 20, 8.0, 0.0)]).unwrap();
        assert!(exposed.bytes_per_s < 0.8e8);
        let faster = after(&[report(1 << 20, 8.0, 0.0), report(1 << 20, 800.0, 1.0)]).unwrap();
        assert!(faster.bytes_per_s > 2e7, "what is hidden and fast is fast");
    }

    #[test]
    fn links_are_told_apart_and_grow_old() {
        let (mut links, now) = (Links::default(), Instant::now());
        links.observe("p0", "d0", &report(BYTES_MIN, 8.0, 0.0), now);
        links.observe("p0", "d1", &report(BYTES_MIN, 80.0, 0.0), now);
        assert_eq!(links.fresh("p0", "d1", now + FRESH).unwrap().bytes_per_s, 1e7);
        assert_eq!(links.fresh("p1", "d1", now), None);
        assert_eq!(links.fresh("p0", "d1", now + FRESH + Duration::from_secs(1)), None);
        assert_eq!(links.all().map(|(p, d, _)| (p, d)).collect::<Vec<_>>(), [("p0", "d0"), ("p0", "d1")]);
    }
}
