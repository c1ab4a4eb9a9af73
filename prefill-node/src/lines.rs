//! Measured speed of the link to each decode node, and whether lossless packing pays on it: a codec that is slower than
//! the link delays the KV more than the saved bytes speed it up.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use secateur_transfer::codec::Packing;

/// Bytes below which a shipment is not counted: it measures the link's round trip, not its rate.
const TELLING_BYTES: u64 = 256 << 10;
/// Most rates that are kept: nodes come and go under ever new addresses. At the limit all rates are forgotten and
/// measured again.
const RATES_MAX: usize = 4_096;
/// Weight of the newest shipment in the exponential moving average of a link's rate.
const NEWEST: f64 = 0.3;

/// Setting for lossless packing of KV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Lossless {
    /// Pack unless the link was measured to be faster than packing
    #[default]
    Auto,
    /// Always pack
    On,
    /// Never pack
    Off,
}

/// Measured rates of the links to decode nodes.
pub struct Lines {
    lossless: Lossless,
    /// Rate of packing on this node, bytes per second.
    packing_rate: f64,
    // Measured rates by address, bytes per second. The lock is held only to look up or insert, never across an await.
    rates: Mutex<HashMap<String, f64>>,
}

impl Lines {
    /// Creates the table without any measured link; `packing_rate` is this node's rate of packing, in bytes per second.
    pub fn new(lossless: Lossless, packing_rate: f64) -> Self {
        Self { lossless, packing_rate, rates: Mutex::default() }
    }

    /// Whether to pack KV for the decode node at `address`.
    pub fn packing(&self, address: &str) -> Packing {
        let pays = match self.lossless {
            // An unknown link is taken to be slow: packing for a fast link costs little time, not packing for a slow
            // one costs much.
            Lossless::Auto => self.rates().get(address).is_none_or(|rate| *rate < self.packing_rate),
            Lossless::On => true,
            Lossless::Off => false,
        };
        if pays { Packing::WhereSmaller } else { Packing::Never }
    }

    /// Records a shipment: `bytes` sent to `address`, and the time that they were on the wire.
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
