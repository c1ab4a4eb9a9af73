//! What is known of the way to each decode node, and whether packing pays on it: a codec that is slower than the link only
//! holds up what it makes smaller.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use secateur_transfer::codec::Packing;

/// Shipments smaller than this measure a round trip, not a rate.
const TELLING_BYTES: u64 = 256 << 10;
/// Nodes come and go under ever new addresses. With more than so many, what was measured is measured anew.
const RATES_MAX: usize = 4_096;
/// Weight of the newest shipment.
const NEWEST: f64 = 0.3;

/// When KV is packed without loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Lossless {
    /// Unless the link was measured to be faster than packing.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The ways to decode nodes.
pub struct Lines {
    lossless: Lossless,
    /// How fast values are packed here, bytes per second.
    packing_rate: f64,
    // Bytes per second by address. Held only to look up or insert, never across an await.
    rates: Mutex<HashMap<String, f64>>,
}

impl Lines {
    /// Nothing is known yet but how fast this node packs.
    pub fn new(lossless: Lossless, packing_rate: f64) -> Self {
        Self { lossless, packing_rate, rates: Mutex::default() }
    }

    /// Whether to pack what goes to `address`.
    pub fn packing(&self, address: &str) -> Packing {
        let pays = match self.lossless {
            // What is not known is taken to be slow: packing for nothing costs a little time, not packing much of it.
            Lossless::Auto => self.rates().get(address).is_none_or(|rate| *rate < self.packing_rate),
            Lossless::On => true,
            Lossless::Off => false,
        };
        if pays { Packing::WhereSmaller } else { Packing::Never }
    }

    /// Takes note of a shipment.
    pub fn learn(&self, address: &str, bytes: u64, wire: Duration) {
        if bytes < TELLING_BYTES || wire.is_zero() {
            return;
        }
        let rate = bytes as f64 / wire.as_secs_f64();
        let mut rates = self.rates();
        if rates.len() >= RATES_MAX && !rates.contains_key(address) {
            rates.clear();
        }
        let known = rates.entry(address.to_owned()).or_insert(rate);
        *known += NEWEST * (rate - *known);
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, HashMap<String, f64>> {
        self.rates.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_are_faster_than_packing_are_not_packed_for() {
        let lines = Lines::new(Lossless::Auto, 500e6);
        let second = Duration::from_secs(1);
        assert_eq!(lines.packing("d:1"), Packing::WhereSmaller, "nothing is known");
        lines.learn("d:1", 100_000_000, second);
        lines.learn("d:2", 2_000_000_000, second);
        lines.learn("d:3", 1_000, second);
        let found = ["d:1", "d:2", "d:3"].map(|address| lines.packing(address));
        assert_eq!(found, [Packing::WhereSmaller, Packing::Never, Packing::WhereSmaller]);
        for _ in 0..20 {
            lines.learn("d:1", 2_000_000_000, second);
        }
        assert_eq!(lines.packing("d:1"), Packing::Never, "the link became faster");
        assert_eq!(Lines::new(Lossless::On, 0.0).packing("x"), Packing::WhereSmaller);
        let off = Lines::new(Lossless::Off, 500e6);
        off.learn("d:1", 100_000_000, second);
        assert_eq!(off.packing("d:1"), Packing::Never);
    }
}
