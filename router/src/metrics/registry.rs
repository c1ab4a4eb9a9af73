//! The metrics and how they are named.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

use secateur_proto::{ErrorCode, ServiceError};
use secateur_transfer::Refusal;

use super::{
    labels::{AttemptOutcome, Code, FinishedReason, LinkLabels, OTHER_REASON, Outcome, Placed, Policy, Reason, Stage},
    nodes::{NodeFigures, NodeMetrics},
};
use crate::openai::receipt::{COLOCATED, DISAGGREGATED};

const TTFT_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
];
const TOKEN_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0,
];
const WIRE_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const PRUNE_SECONDS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

type Labelled<L, M> = Family<L, M>;
/// A gauge of parts.
pub type FloatGauge = Gauge<f64, AtomicU64>;

/// Every metric of the router.
pub struct Metrics {
    registry: Registry,
    pub(super) ttft: Histogram,
    pub(super) inter_token: Histogram,
    pub(super) per_output_token: Histogram,
    pub(super) e2e: Histogram,
    pub(super) queue: Histogram,
    pub(super) prefill: Histogram,
    pub(super) decode: Histogram,
    pub(super) prompt_tokens: Counter,
    pub(super) generation_tokens: Counter,
    pub(super) success: Labelled<FinishedReason, Counter>,
    pub(super) bytes_sent: Labelled<Policy, Counter>,
    pub(super) bytes_dense: Labelled<Policy, Counter>,
    pub(super) bytes_unpruned: Labelled<Policy, Counter>,
    pub(super) ship: Histogram,
    link: Labelled<LinkLabels, FloatGauge>,
    pub(super) placed: Labelled<Placed, Counter>,
    pub(super) positions_held: Counter,
    refused: Labelled<Reason, Counter>,
    pub(super) visual_tokens: Labelled<Stage, Counter>,
    pub(super) prune: Histogram,
    pub(super) attempts: Labelled<Outcome, Counter>,
    pub(super) errors: Labelled<Code, Counter>,
    running: Gauge,
    waiting: Gauge,
    nodes: NodeMetrics,
}

/// Figures that are read when asked for, not counted.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Requests at the nodes.
    pub running: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// Each node.
    pub nodes: Vec<NodeFigures>,
    /// Each measured link and its rate in bytes per second.
    pub links: Vec<(LinkLabels, f64)>,
}

/// Registers as it builds, so that no metric can be counted and not shown.
pub struct Builder {
    registry: Registry,
}

impl Builder {
    /// Adds a metric.
    pub fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.registry.register(name, help, metric.clone());
        metric
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(name, help, Histogram::new(buckets.iter().copied()))
    }

    fn counters<L>(&mut self, name: &str, help: &str) -> Family<L, Counter>
    where
        L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
        fn() -> Counter: MetricConstructor<Counter>,
    {
        self.add(name, help, Family::default())
    }

    /// Counters of a closed list, each there from the start.
    fn counters_at_zero<L>(&mut self, name: &str, help: &str, labels: impl IntoIterator<Item = L>) -> Family<L, Counter>
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

impl Metrics {
    /// All metrics, labelled with the served model's name.
    pub fn new(model_name: &str) -> Self {
        let label = ("model_name".into(), model_name.to_owned().into());
        let mut to = Builder { registry: Registry::with_labels(std::iter::once(label)) };
        Self {
            ttft: to.histogram(
                "vllm:time_to_first_token_seconds",
                "Request accepted by the router to first token at the router",
                TTFT_SECONDS,
            ),
            inter_token: to.histogram(
                "vllm:inter_token_latency_seconds",
                "Time between two arrivals of tokens at the router, divided by the tokens that arrived",
                TOKEN_SECONDS,
            ),
            per_output_token: to.histogram(
                "vllm:request_time_per_output_token_seconds",
                "(last token - first token) / (completion tokens - 1), once for each request of two tokens or more",
                TOKEN_SECONDS,
            ),
            e2e: to.histogram("vllm:e2e_request_latency_seconds", "Request accepted to answer ended", REQUEST_SECONDS),
            queue: to.histogram(
                "vllm:request_queue_time_seconds",
                "Waiting for admission at the router plus waiting at the prefill node",
                REQUEST_SECONDS,
            ),
            prefill: to.histogram(
                "vllm:request_prefill_time_seconds",
                "The prefill node's computation, by its clock",
                REQUEST_SECONDS,
            ),
            decode: to.histogram(
                "vllm:request_decode_time_seconds",
                "KV complete to last token, by the decode node's clock; first to last token where the router ended it",
                REQUEST_SECONDS,
            ),
            prompt_tokens: to.add(
                "vllm:prompt_tokens",
                "Prompt tokens of finished requests, before pruning",
                Counter::default(),
            ),
            generation_tokens: to.add(
                "vllm:generation_tokens",
                "Generated tokens, end tokens included",
                Counter::default(),
            ),
            success: to
                .counters("vllm:request_success", "Ended answers: stop, length, or abort (client gone, node lost)"),
            bytes_sent: to.counters("secateur_kv_bytes_sent", "Payload and framing handed to the transport, failed attempts included"),
            bytes_dense: to.counters(
                "secateur_kv_bytes_dense",
                "What the kept tokens would need in every prefill block at the model's dtype",
            ),
            bytes_unpruned: to.counters("secateur_kv_bytes_unpruned", "What the unpruned prompt would need so"),
            ship: to.histogram(
                "secateur_kv_ship_seconds",
                "First byte of a shipment to its acknowledgement",
                WIRE_SECONDS,
            ),
            link: to.add(
                "secateur_kv_link_bytes_per_second",
                "Rate of each link: weighted mean over the shipments of 64 KiB or more, as prefill measured them; a lower \
                 bound, since frames wait for layers",
                Family::default(),
            ),
            placed: to.counters_at_zero(
                "secateur_placement",
                "Finished requests by where their last attempt ran: colocated (on one machine) or disaggregated",
                [COLOCATED, DISAGGREGATED].map(|placement| Placed { placement: placement.to_owned() }),
            ),
            positions_held: to.add(
                "secateur_kv_positions_held",
                "Prompt positions that were not shipped because decode had their KV of an earlier turn",
                Counter::default(),
            ),
            refused: to.counters_at_zero(
                "secateur_kv_refused",
                "Attempts that failed because a shipment was refused, by reason; each was recomputed or answered with an \
                 error",
                Refusal::ALL
                    .iter()
                    .map(|refusal| refusal.as_str())
                    .chain([OTHER_REASON])
                    .map(|reason| Reason { reason: reason.to_owned() }),
            ),
            visual_tokens: to.counters("secateur_visual_tokens", "Visual tokens before and after pruning"),
            prune: to.histogram("secateur_visual_prune_seconds", "Time to choose the visual tokens", PRUNE_SECONDS),
            attempts: to.counters(
                "secateur_request_attempts",
                "Pairs tried, by how that ended: ok (with the answer), failed (refused, or a node was lost), or preempted \
                 (KV blocks taken, replayed)",
            ),
            errors: to.counters("secateur_request_errors", "Requests answered with an error, by its code"),
            running: to.add("vllm:num_requests_running", "Requests at the nodes", Gauge::default()),
            waiting: to.add("vllm:num_requests_waiting", "Requests that wait for their turn", Gauge::default()),
            nodes: NodeMetrics::new(&mut to),
            registry: to.registry,
        }
    }

    /// Counts bytes of a request that came to no receipt.
    pub fn sent(&self, policy: &str, bytes: u64) {
        self.bytes_sent.get_or_create(&Policy { policy: policy.to_owned() }).inc_by(bytes);
    }

    /// Counts an error answer.
    pub fn error(&self, code: &str) {
        self.errors.get_or_create(&Code { code: code.to_owned() }).inc();
    }

    /// Counts an attempt that has ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.attempts.get_or_create(&Outcome { outcome: outcome.as_str().to_owned() }).inc();
    }

    /// Counts an attempt that failed of `error`, and the refusal if it was one.
    pub fn failed(&self, error: &ServiceError) {
        self.attempt(AttemptOutcome::Failed);
        if error.code == ErrorCode::KvRefused {
            let told = error.param.as_deref();
            let reason = Refusal::ALL.iter().map(|refusal| refusal.as_str()).find(|known| Some(*known) == told);
            self.refused.get_or_create(&Reason { reason: reason.unwrap_or(OTHER_REASON).to_owned() }).inc();
        }
    }

    /// The page, with `snapshot` for what is not counted.
    pub fn render(&self, snapshot: Snapshot) -> Result<String, std::fmt::Error> {
        self.running.set(i64::try_from(snapshot.running).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(snapshot.waiting).unwrap_or(i64::MAX));
        self.nodes.update(&snapshot.nodes);
        for (labels, bytes_per_s) in &snapshot.links {
            self.link.get_or_create(labels).set(*bytes_per_s);
        }
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::NodeLabels;
    use secateur_proto::v1::{Load, NodeDescription, Role};

    fn node(role: Role, name: &str, load: Load) -> NodeFigures {
        let description =
            NodeDescription { node_id: name.into(), role: role as i32, load: Some(load), ..Default::default() };
        let role = if role == Role::Decode { "decode" } else { "prefill" };
        let labels = NodeLabels { role: role.into(), node: format!("{name}:1") };
        NodeFigures { labels, description: Some(Box::new(description)) }
    }

    fn decode(name: &str, kv_blocks_used: u32, preemptions: u64) -> NodeFigures {
        node(Role::Decode, name, Load { kv_blocks_used, kv_blocks_total: 8, preemptions, ..Default::default() })
    }

    fn page(metrics: &Metrics, nodes: Vec<NodeFigures>) -> String {
        metrics.render(Snapshot { running: 2, nodes, ..Default::default() }).unwrap()
    }

    /// Labels may come in any order.
    fn check(page: &str, lines: &[&str]) {
        let parts = |line: &str| {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = key.trim_end_matches('}').split_once('{').unwrap();
            let mut labels: Vec<String> = labels.split(',').map(str::to_owned).collect();
            labels.sort();
            (name.to_owned(), labels, value.to_owned())
        };
        for line in lines {
            let found = page.lines().filter(|line| !line.starts_with('#')).any(|found| parts(found) == parts(line));
            assert!(found, "{line}\n{page}");
        }
    }

    #[test]
    fn the_page_has_vllms_names_and_ours() {
        let metrics = Metrics::new("demo");
        metrics.error("overloaded");
        metrics.attempt(AttemptOutcome::Preempted);
        let prefix = Load { prefix_queries: 30, prefix_hits: 10, ..Default::default() };
        let nodes = vec![node(Role::Prefill, "p", prefix), decode("d0", 2, 3), decode("d1", 6, 4)];
        check(
            &page(&metrics, nodes),
            &[
                "vllm:num_requests_running{model_name=\"demo\"} 2",
                "vllm:kv_cache_usage_perc{model_name=\"demo\"} 0.75",
                "vllm:kv_cache_usage_perc{model_name=\"demo\",role=\"decode\",node=\"d0:1\"} 0.25",
                "vllm:num_preemptions_total{model_name=\"demo\"} 7",
                "vllm:prefix_cache_queries_total{model_name=\"demo\"} 30",
                "vllm:prefix_cache_hits_total{model_name=\"demo\"} 10",
                "secateur_kv_blocks_leased{model_name=\"demo\",role=\"decode\",node=\"d1:1\"} 6",
                "secateur_kv_blocks_total{model_name=\"demo\",role=\"decode\",node=\"d1:1\"} 8",
                "vllm:prompt_tokens_total{model_name=\"demo\"} 0",
                "vllm:time_to_first_token_seconds_bucket{le=\"0.001\",model_name=\"demo\"} 0",
                "secateur_request_errors_total{code=\"overloaded\",model_name=\"demo\"} 1",
                "secateur_request_attempts_total{outcome=\"preempted\",model_name=\"demo\"} 1",
                "secateur_node_up{role=\"prefill\",node=\"p:1\",model_name=\"demo\"} 1",
            ],
        );
    }

    #[test]
    fn refusals_are_counted_by_reason_and_each_is_there_from_the_start() {
        let metrics = Metrics::new("demo");
        metrics.failed(&Refusal::DigestMismatch.into());
        metrics.failed(&ServiceError::new(ErrorCode::KvRefused, "new").with_param("never_heard_of"));
        metrics.failed(&ServiceError::new(ErrorCode::Unavailable, "gone").with_param("truncated"));
        let page = page(&metrics, Vec::new());
        for refusal in Refusal::ALL {
            let count = u32::from(*refusal == Refusal::DigestMismatch);
            let line =
                format!("secateur_kv_refused_total{{reason=\"{}\",model_name=\"demo\"}} {count}", refusal.as_str());
            check(&page, &[&line]);
        }
        check(
            &page,
            &[
                "secateur_kv_refused_total{reason=\"other\",model_name=\"demo\"} 1",
                "secateur_request_attempts_total{outcome=\"failed\",model_name=\"demo\"} 3",
                "secateur_placement_total{placement=\"colocated\",model_name=\"demo\"} 0",
                "secateur_kv_positions_held_total{model_name=\"demo\"} 0",
            ],
        );
    }

    #[test]
    fn every_link_has_its_rate() {
        let labels = LinkLabels { prefill: "p:1".into(), decode: "d:1".into() };
        let snapshot = Snapshot { links: vec![(labels, 125e6)], ..Default::default() };
        let page = Metrics::new("demo").render(snapshot).unwrap();
        check(
            &page,
            &["secateur_kv_link_bytes_per_second{prefill=\"p:1\",decode=\"d:1\",model_name=\"demo\"} 125000000.0"],
        );
    }

    #[test]
    fn counters_of_nodes_never_go_back_and_gauges_go_with_them() {
        let metrics = Metrics::new("demo");
        page(&metrics, vec![decode("d0", 2, 3)]);
        let restarted = page(&metrics, vec![decode("d0", 0, 1)]);
        check(&restarted, &["vllm:num_preemptions_total{model_name=\"demo\"} 4"]);
        let gone = NodeFigures { description: None, ..decode("d0", 0, 0) };
        let gone = page(&metrics, vec![gone]);
        check(
            &gone,
            &["vllm:num_preemptions_total{model_name=\"demo\"} 4", "vllm:kv_cache_usage_perc{model_name=\"demo\"} 0.0"],
        );
        assert!(!gone.contains("secateur_kv_blocks_leased{"), "{gone}");
    }
}
