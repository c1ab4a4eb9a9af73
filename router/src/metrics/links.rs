//! Links as metrics: what went over each, and how fast it is.

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{
    known::Known,
    labels::LinkLabels,
    registry::{Builder, FloatGauge},
};

/// Both figures of every link between nodes that are there.
pub struct LinkMetrics {
    rate: Family<LinkLabels, FloatGauge>,
    bytes: Family<LinkLabels, Counter>,
    known: Known<LinkLabels>,
}

impl LinkMetrics {
    /// Registers them.
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

    /// So many bytes went over a link.
    pub fn shipped(&self, labels: &LinkLabels, bytes: u64) {
        self.bytes.get_or_create(labels).inc_by(bytes);
        // Afterwards, so that what is taken off between the two is taken off again.
        self.known.add(labels);
    }

    /// Links that anything went over, and how much.
    pub fn bytes(&self) -> Vec<(LinkLabels, u64)> {
        let bytes = |labels: LinkLabels| {
            let bytes = self.bytes.get(&labels)?.get();
            Some((labels, bytes))
        };
        self.known.all().into_iter().filter_map(bytes).collect()
    }

    /// Takes measured rates over, and links whose ends are not both `there` off.
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
