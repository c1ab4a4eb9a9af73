//! Metrics made from the nodes' descriptions.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use secateur_proto::v1::{Load, NodeDescription, Role};

use super::{
    builder::{Builder, FloatGauge},
    known::Known,
    tally::Tally,
};

/// A node, by its role and address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabels {
    /// `prefill` or `decode`.
    pub role: String,
    /// `host:port` as configured.
    pub node: String,
}

/// The role and address of a node, or no labels for the figure of all nodes together.
type MaybeNode = Vec<(&'static str, String)>;

/// One node at this moment.
#[derive(Debug)]
pub struct NodeFigures {
    /// The node's role and address.
    pub labels: NodeLabels,
    /// The node's description; `None` if the node does not answer.
    pub description: Option<Arc<NodeDescription>>,
    /// Whether the router would send requests to the node.
    pub is_usable: bool,
}

/// A counter summed over all nodes, with the tally that keeps it monotonic when a node restarts.
struct Counted {
    counter: Counter,
    /// The nodes' last values and their sum. Locked only while adding; each update leaves the sum right, so a poisoned
    /// lock is used all the same.
    tally: Mutex<Tally>,
}

/// Metrics that are read from the nodes' descriptions when `/metrics` is requested.
pub struct NodeMetrics {
    known: Known<NodeLabels>,
    up: Family<NodeLabels, Gauge>,
    usable: Family<NodeLabels, Gauge>,
    running: Family<NodeLabels, Gauge>,
    waiting: Family<NodeLabels, Gauge>,
    kv_usage: Family<MaybeNode, FloatGauge>,
    blocks_leased: Family<NodeLabels, Gauge>,
    blocks_total: Family<NodeLabels, Gauge>,
    preemptions: Counted,
    prefix_queries: Counted,
    prefix_hits: Counted,
}

impl NodeMetrics {
    /// Registers the metrics.
    pub fn new(to: &mut Builder) -> Self {
        Self {
            known: Known::default(),
            up: to.add("secateur_node_up", "1: the node answers; 0: it does not", Family::default()),
            usable: to.add(
                "secateur_node_usable",
                "1: the router would send the node requests; 0: it does not answer, drains, or speaks another protocol or \
                 tokenizer",
                Family::default(),
            ),
            running: to.add("secateur_node_requests_running", "Requests that the node computes", Family::default()),
            waiting: to.add("secateur_node_requests_waiting", "Requests in the node's queue", Family::default()),
            kv_usage: to.add(
                "vllm:kv_cache_usage_perc",
                "KV blocks in use over KV blocks there are (bytes, where a node has no blocks); 1 is full. With a node's \
                 labels: of that decode node. Without: of the fullest one",
                Family::default(),
            ),
            blocks_leased: to.add("secateur_kv_blocks_leased", "KV blocks in use on the node", Family::default()),
            blocks_total: to.add("secateur_kv_blocks_total", "KV blocks there are on the node", Family::default()),
            preemptions: Counted::new(
                to,
                "vllm:num_preemptions",
                "Answers whose KV blocks were taken for earlier ones, over all decode nodes",
            ),
            prefix_queries: Counted::new(
                to,
                "vllm:prefix_cache_queries",
                "Prompt positions looked up in the prefix cache, over all prefill nodes",
            ),
            prefix_hits: Counted::new(
                to,
                "vllm:prefix_cache_hits",
                "Prompt positions whose KV was found in the prefix cache, over all prefill nodes",
            ),
        }
    }

    /// Sets the metrics to the nodes' current figures.
    pub fn update(&self, nodes: &[NodeFigures]) {
        let mut fullest = 0f64;
        for NodeFigures { labels, description, is_usable } in nodes {
            self.known.add(labels);
            self.up.get_or_create(labels).set(description.is_some().into());
            self.usable.get_or_create(labels).set((*is_usable).into());
            let Some(description) = description else {
                self.forget_load(labels);
                continue;
            };
            let load = description.load.unwrap_or_default();
            self.running.get_or_create(labels).set(load.running.into());
            self.waiting.get_or_create(labels).set(load.waiting.into());
            self.blocks_leased.get_or_create(labels).set(load.kv_blocks_used.into());
            self.blocks_total.get_or_create(labels).set(load.kv_blocks_total.into());
            let id = &description.node_id;
            if description.role() == Role::Decode {
                let usage = usage(&load);
                fullest = fullest.max(usage);
                self.kv_usage.get_or_create(&named(labels)).set(usage);
                self.preemptions.observe(id, load.preemptions);
            } else {
                self.prefix_queries.observe(id, load.prefix_queries);
                self.prefix_hits.observe(id, load.prefix_hits);
            }
        }
        self.kv_usage.get_or_create(&MaybeNode::new()).set(fullest);
        for labels in self.known.left(|labels| nodes.iter().any(|node| node.labels == *labels)) {
            self.up.remove(&labels);
            self.usable.remove(&labels);
            self.forget_load(&labels);
        }
    }

    /// Removes the load of a node that does not answer, instead of showing its last load for ever.
    fn forget_load(&self, labels: &NodeLabels) {
        self.running.remove(labels);
        self.waiting.remove(labels);
        self.blocks_leased.remove(labels);
        self.blocks_total.remove(labels);
        self.kv_usage.remove(&named(labels));
    }
}

impl Counted {
    fn new(to: &mut Builder, name: &str, help: &str) -> Self {
        Self { counter: to.add(name, help, Counter::default()), tally: Mutex::default() }
    }

    fn observe(&self, node_id: &str, value: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.observe(node_id, value);
        // Done under the lock, so that two concurrent page requests do not count the same step twice.
        self.counter.inc_by(tally.sum() - self.counter.get());
    }
}

fn named(labels: &NodeLabels) -> MaybeNode {
    vec![("role", labels.role.clone()), ("node", labels.node.clone())]
}

fn usage(load: &Load) -> f64 {
    let (used, total) = match load.kv_blocks_total {
        0 => (load.kv_bytes_used as f64, load.kv_bytes_total as f64),
        blocks => (load.kv_blocks_used.into(), blocks.into()),
    };
    if total == 0.0 { 0.0 } else { used / total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_of_blocks_or_else_of_bytes() {
        let bytes = Load { kv_bytes_used: 1, kv_bytes_total: 4, ..Default::default() };
        assert_eq!(usage(&bytes), 0.25);
        assert_eq!(usage(&Load { kv_blocks_used: 3, kv_blocks_total: 6, ..bytes }), 0.5);
        assert_eq!(usage(&Load::default()), 0.0);
    }
}
