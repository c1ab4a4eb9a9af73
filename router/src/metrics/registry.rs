//! The router's metrics, with their names and help texts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use secateur_proto::{ErrorCode, ServiceError};
use secateur_transfer::{Refusal, TransferPolicy};
use tokio::time::Instant;

use super::{
    builder::Builder,
    keys::KeyMetrics,
    labels::{
        AttemptOutcome, Code, FINISHED_REASONS, FinishedReason, LinkLabels, OTHER_REASON, Outcome, PREEMPTED, Placed,
        Policy, Reason, Stage,
    },
    links::LinkMetrics,
    nodes::{NodeFigures, NodeMetrics},
    recent::{Ended, Recent, Ring},
    volume::KvBytes,
    window::{Lately, Slot, Window},
};
use crate::{
    keys::KeyFigures,
    request::receipt::{DISAGGREGATED, SAME_HOST},
};

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
    pub(super) bytes_kept: Labelled<Policy, Counter>,
    pub(super) bytes_planned: Labelled<Policy, Counter>,
    pub(super) bytes_raw: Labelled<Policy, Counter>,
    pub(super) ship: Histogram,
    pub(super) placed: Labelled<Placed, Counter>,
    pub(super) positions_held: Counter,
    pub(super) refused: Labelled<Reason, Counter>,
    pub(super) visual_tokens: Labelled<Stage, Counter>,
    pub(super) prune: Histogram,
    pub(super) attempts: Labelled<Outcome, Counter>,
    retries: Labelled<Reason, Counter>,
    pub(super) errors: Labelled<Code, Counter>,
    ready: Gauge,
    running: Gauge,
    waiting: Gauge,
    bytes_held: Gauge,
    keys: KeyMetrics,
    links: LinkMetrics,
    nodes: NodeMetrics,
    /// Written when a request ends, read by the cluster page; never held across an await.
    recent: Mutex<Ring>,
    /// Written as answers go on, read by the cluster page; never held across an await.
    window: Mutex<Window>,
    /// Held while the gauges of one moment are set and written, so that pages asked for at once do not mix.
    rendering: Mutex<()>,
}

/// Values of the gauges, read when the page is requested.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Whether a new request would be served.
    pub is_ready: bool,
    /// Requests at the nodes.
    pub running: usize,
    /// Requests waiting for their turn.
    pub waiting: usize,
    /// Bytes that requests hold.
    pub bytes_held: usize,
    /// Sums of each API key with a name.
    pub keys: Vec<KeyFigures>,
    /// Figures of each node.
    pub nodes: Vec<NodeFigures>,
    /// Each measured link and its rate in bytes per second.
    pub links: Vec<(LinkLabels, f64)>,
}

impl Metrics {
    /// All metrics, labelled with the served model's name.
    pub fn new(model_name: &str) -> Self {
        let label = ("model_name".into(), model_name.to_owned().into());
        let mut to = Builder { registry: Registry::with_labels(std::iter::once(label)) };
        to.build();
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
                "Generated tokens without end tokens, as in completion_tokens",
                Counter::default(),
            ),
            success: to.counters_at_zero(
                "vllm:request_success",
                "Ended answers: stop, length, tool_calls, or abort (client gone); what failed is in secateur_request_errors",
                FINISHED_REASONS.map(|reason| FinishedReason { finished_reason: reason.to_owned() }),
            ),
            bytes_sent: to.counters_at_zero(
                "secateur_kv_bytes_sent",
                "Payload and framing handed to the transport, failed attempts included",
                policies(),
            ),
            bytes_dense: to.counters_at_zero(
                "secateur_kv_bytes_dense",
                "What the kept tokens would need in every prefill block at the model's dtype",
                policies(),
            ),
            bytes_unpruned: to.counters_at_zero(
                "secateur_kv_bytes_unpruned",
                "What the unpruned prompt would need so",
                policies(),
            ),
            bytes_kept: to.counters_at_zero(
                "secateur_kv_bytes_kept",
                "What the kept tokens would need in every block of the checkpoint; unpruned over this is visual pruning's \
                 share",
                policies(),
            ),
            bytes_planned: to.counters_at_zero(
                "secateur_kv_bytes_planned",
                "What policy and plan ship of that, uncoded; kept over this is their share",
                policies(),
            ),
            bytes_raw: to.counters_at_zero(
                "secateur_kv_bytes_raw",
                "Planned bytes without what decode had; planned over this is the share of kept KV, this over sent that of \
                 coding less framing",
                policies(),
            ),
            ship: to.histogram(
                "secateur_kv_ship_seconds",
                "First byte of a shipment to its acknowledgement",
                WIRE_SECONDS,
            ),
            placed: to.counters_at_zero(
                "secateur_placement",
                "Finished requests by where their last attempt ran: same-host (both nodes on one machine) or disaggregated",
                [SAME_HOST, DISAGGREGATED].map(|placement| Placed { placement: placement.to_owned() }),
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
            visual_tokens: to.counters_at_zero(
                "secateur_visual_tokens",
                "Visual tokens before and after pruning",
                ["before", "after"].map(|stage| Stage { stage: stage.to_owned() }),
            ),
            prune: to.histogram("secateur_visual_prune_seconds", "Time to choose the visual tokens", PRUNE_SECONDS),
            attempts: to.counters_at_zero(
                "secateur_request_attempts",
                "Pairs tried, by how that ended: ok (with the answer), failed (refused, or a node was lost), or preempted \
                 (KV blocks taken, replayed)",
                AttemptOutcome::ALL.map(|outcome| Outcome { outcome: outcome.as_str().to_owned() }),
            ),
            retries: to.counters_at_zero(
                "secateur_request_retries",
                "Attempts after a request's first one, by why the one before ended: an error's code, or preempted",
                codes().chain([PREEMPTED]).map(|reason| Reason { reason: reason.to_owned() }),
            ),
            errors: to.counters_at_zero(
                "secateur_request_errors",
                "Requests answered with an error, by its code",
                codes().map(|code| Code { code: code.to_owned() }),
            ),
            ready: to.add(
                "secateur_ready",
                "1: a new request would be served; 0: there is no usable pair of nodes, or the router is stopping",
                Gauge::default(),
            ),
            running: to.add("vllm:num_requests_running", "Requests at the nodes", Gauge::default()),
            waiting: to.add("vllm:num_requests_waiting", "Requests that wait for their turn", Gauge::default()),
            bytes_held: to.add(
                "secateur_request_bytes_held",
                "Bytes of bodies, of what is read from them, and of pictures, as weighed against --max-held-bytes",
                Gauge::default(),
            ),
            keys: KeyMetrics::new(&mut to),
            links: LinkMetrics::new(&mut to),
            nodes: NodeMetrics::new(&mut to),
            recent: Mutex::default(),
            window: Mutex::new(Window::new(Instant::now())),
            rendering: Mutex::default(),
            registry: to.registry,
        }
    }

    /// Counts what a shipment under `policy` added to its request's bytes.
    pub fn moved(&self, policy: &str, bytes: &KvBytes) {
        let policy = Policy { policy: policy.to_owned() };
        self.bytes_sent.get_or_create(&policy).inc_by(bytes.sent);
        self.bytes_dense.get_or_create(&policy).inc_by(bytes.dense);
        self.bytes_unpruned.get_or_create(&policy).inc_by(bytes.unpruned);
        self.bytes_kept.get_or_create(&policy).inc_by(bytes.kept);
        self.bytes_planned.get_or_create(&policy).inc_by(bytes.planned);
        self.bytes_raw.get_or_create(&policy).inc_by(bytes.raw);
        self.now(|slot| slot.bytes = slot.bytes.plus(bytes));
    }

    /// Counts an error answer.
    pub fn error(&self, code: ErrorCode) {
        self.errors.get_or_create(&Code { code: code.as_str().to_owned() }).inc();
        self.now(|slot| slot.failed(code));
    }

    /// Counts in the slot of this moment.
    pub(super) fn now(&self, count: impl FnOnce(&mut Slot)) {
        count(self.window().at(Instant::now()));
    }

    /// What happened in the last minutes.
    pub fn lately(&self) -> Lately {
        self.window().lately(Instant::now())
    }

    /// Locks the window even if another holder panicked: each update leaves it whole.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was answered with an error, and remembers it.
    pub fn refused(&self, request_id: &str, error: &ServiceError) {
        self.error(error.code);
        self.remember(Recent::new(request_id, Ended::Failed(error.code), None));
    }

    /// Counts an attempt that was made because the one before it ended for `reason`.
    pub fn retried(&self, reason: &str) {
        self.retries.get_or_create(&Reason { reason: reason.to_owned() }).inc();
    }

    /// Counts what went over a link.
    pub fn shipped(&self, link: &LinkLabels, bytes: u64) {
        self.links.shipped(link, bytes);
    }

    /// The links over which bytes were shipped, and their bytes.
    pub fn link_bytes(&self) -> Vec<(LinkLabels, u64)> {
        self.links.bytes()
    }

    /// Remembers a request that has ended, for the live page.
    pub(super) fn remember(&self, request: Recent) {
        self.ring().push(request);
    }

    /// The last requests after number `after`, oldest first.
    pub fn recent(&self, after: u64) -> Vec<Recent> {
        self.ring().after(after)
    }

    /// Locks the list of requests even if another holder panicked: each update leaves it whole.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt that has ended.
    pub fn attempt(&self, outcome: AttemptOutcome) {
        self.attempts.get_or_create(&Outcome { outcome: outcome.as_str().to_owned() }).inc();
    }

    /// Counts an attempt that failed with `error`, and the refusal if the error is one.
    pub fn failed(&self, error: &ServiceError) {
        self.attempt(AttemptOutcome::Failed);
        if error.code == ErrorCode::KvRefused {
            let told = error.param.as_deref();
            let reason = Refusal::ALL.iter().map(|refusal| refusal.as_str()).find(|known| Some(*known) == told);
            self.refused.get_or_create(&Reason { reason: reason.unwrap_or(OTHER_REASON).to_owned() }).inc();
        }
    }

    /// Renders the page; `snapshot` supplies the gauges.
    pub fn render(&self, snapshot: Snapshot) -> Result<String, std::fmt::Error> {
        let _alone = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.running.set(i64::try_from(snapshot.running).unwrap_or(i64::MAX));
        self.waiting.set(i64::try_from(snapshot.waiting).unwrap_or(i64::MAX));
        self.bytes_held.set(i64::try_from(snapshot.bytes_held).unwrap_or(i64::MAX));
        self.ready.set(snapshot.is_ready.into());
        self.keys.update(&snapshot.keys);
        self.nodes.update(&snapshot.nodes);
        let has = |role, address: &str| {
            snapshot.nodes.iter().any(|node| node.labels.role == role && node.labels.node == address)
        };
        self.links.update(&snapshot.links, |link| has("prefill", &link.prefill) && has("decode", &link.decode));
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn policies() -> [Policy; TransferPolicy::ALL.len()] {
    TransferPolicy::ALL.map(|policy| Policy { policy: policy.as_str().to_owned() })
}

fn codes() -> impl Iterator<Item = &'static str> {
    ErrorCode::ALL.iter().map(|code| code.as_str())
}

#[cfg(test)]
mod tests;
