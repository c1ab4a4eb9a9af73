//! Registers the router's metrics while they are made.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry},
};
use secateur_common::version;

/// A gauge with a fractional value.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// Registers as it builds, so that no metric can be counted and not shown.
pub struct Builder {
    /// What the metrics are registered in.
    pub(super) registry: Registry,
}

impl Builder {
    /// Adds a metric.
    pub fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// Adds the version and the commit of this build.
    pub fn build(&mut self) {
        let labels = vec![("version", version::VERSION), ("commit", version::COMMIT.unwrap_or_default())];
        self.registry.register("secateur_build", "Version and commit of the router", Info::new(labels));
    }

    /// Adds a histogram with these upper bounds of its buckets.
    pub fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(name, help, Histogram::new(buckets.iter().copied()))
    }

    /// Adds counters, one for each set of labels that is used.
    pub fn counters<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
        fn() -> Counter: MetricConstructor<Counter>,
    {
        self.add(name, help, Family::default())
    }

    /// Registers counters for a closed list of labels, each shown as 0 from the start.
    pub fn counters_at_zero<L>(
        &mut self,
        name: &str,
        help: &str,
        labels: impl IntoIterator<Item = L>,
    ) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
        fn() -> Counter: MetricConstructor<Counter>,
    {
        let counters = self.counters(name, help);
        for label in labels {
            drop(counters.get_or_create(&label));
        }
        counters
    }
}
