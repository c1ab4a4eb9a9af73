//! Metrics of links: bytes shipped over each, and its measured rate.

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{
    builder::{Builder, FloatGauge},
    known::Known,
    labels::LinkLabels,
};

/// Bytes and rate of every link between current nodes.
pub struct LinkMetrics {
    rate: Family<LinkLabels, FloatGauge>,
    bytes: Family<LinkLabels, Counter>,
    known: Known<LinkLabels>,
}

impl LinkMetrics {
    /// Registers the metrics.
    pub fn new(to: &mut Builder) -> Self {
        Self {
            rate: to.add(
                "secateur_kv_link_bytes_per_second",
                "Rate of each link: weighted mean over the shipments of 64 KiB or more, as prefill measured them; a lower \
                 bound, since frames wait for layers",
                Family::default(),
            ),
            bytes: to.add(
                "secateur_kv_link_bytes",
                "Payload and framing that attempts with a first token shipped over each link, broken-off ones included. Its \
                 rate over secateur_kv_link_bytes_per_second is the link's use",
                Family::default(),
            ),
            known: Known::default(),
        }
    }

    /// Counts bytes shipped over a link.
    pub fn shipped(&self, labels: &LinkLabels, bytes: u64) {
        self.bytes.get_or_create(labels).inc_by(bytes);
        // Added last: if `update` removes the labels between the two lines, they are known again and get removed next
        // time.
        self.known.add(labels);
    }

    /// The known links that have a byte count, and their bytes.
    pub fn bytes(&self) -> Vec<(LinkLabels, u64)> {
        let bytes = |labels: LinkLabels| {
            let bytes = self.bytes.get(&labels)?.get();
            Some((labels, bytes))
        };
        self.known.all().into_iter().filter_map(bytes).collect()
    }

    /// Sets the measured rates, and removes links for which `there` is false.
    pub fn update(&self, rates: &[(LinkLabels, f64)], there: impl Fn(&LinkLabels) -> bool) {
        for (labels, bytes_per_s) in rates.iter().filter(|(labels, _)| there(labels)) {
            self.known.add(labels);
            self.rate.get_or_create(labels).set(*bytes_per_s);
        }
        for labels in self.known.left(there) {
            self.rate.remove(&labels);
            self.bytes.remove(&labels);
        }
    }
}
