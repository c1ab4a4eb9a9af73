use std::sync::Arc;

use super::*;
use crate::metrics::NodeLabels;
use secateur_proto::v1::{Load, NodeDescription, Role};

fn node(role: Role, name: &str, load: Load) -> NodeFigures {
    let description =
        NodeDescription { node_id: name.into(), role: role as i32, load: Some(load), ..Default::default() };
    let role = if role == Role::Decode { "decode" } else { "prefill" };
    let labels = NodeLabels { role: role.into(), node: format!("{name}:1") };
    NodeFigures { labels, description: Some(Arc::new(description)), is_usable: true }
}

fn decode(name: &str, kv_blocks_used: u32, preemptions: u64) -> NodeFigures {
    node(Role::Decode, name, Load { kv_blocks_used, kv_blocks_total: 8, preemptions, ..Default::default() })
}

fn page(metrics: &Metrics, nodes: Vec<NodeFigures>) -> String {
    metrics.render(Snapshot { running: 2, nodes, ..Default::default() }).unwrap()
}

/// Checks that `page` has `lines`, whose labels may come in any order.
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
    metrics.error(ErrorCode::Overloaded);
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
        let line = format!("secateur_kv_refused_total{{reason=\"{}\",model_name=\"demo\"}} {count}", refusal.as_str());
        check(&page, &[&line]);
    }
    check(
        &page,
        &[
            "secateur_kv_refused_total{reason=\"other\",model_name=\"demo\"} 1",
            "secateur_request_attempts_total{outcome=\"failed\",model_name=\"demo\"} 3",
            "secateur_placement_total{placement=\"same-host\",model_name=\"demo\"} 0",
            "secateur_kv_positions_held_total{model_name=\"demo\"} 0",
        ],
    );
}

#[test]
fn every_link_has_its_rate() {
    let labels = LinkLabels { prefill: "p:1".into(), decode: "d:1".into() };
    let (metrics, nodes) =
        (Metrics::new("demo"), || vec![node(Role::Prefill, "p", Load::default()), decode("d", 1, 0)]);
    metrics.shipped(&labels, 500);
    let snapshot = |nodes| Snapshot { links: vec![(labels.clone(), 125e6)], nodes, ..Default::default() };
    check(
        &metrics.render(snapshot(nodes())).unwrap(),
        &[
            "secateur_kv_link_bytes_per_second{prefill=\"p:1\",decode=\"d:1\",model_name=\"demo\"} 125000000.0",
            "secateur_kv_link_bytes_total{prefill=\"p:1\",decode=\"d:1\",model_name=\"demo\"} 500",
        ],
    );
    assert_eq!(metrics.link_bytes(), [(labels.clone(), 500)]);
    // The decode node leaves, and its figures are no longer shown.
    let left = metrics.render(snapshot(nodes().drain(..1).collect())).unwrap();
    assert!(!left.contains("d:1") && left.contains("node=\"p:1\""), "{left}");
    assert_eq!(metrics.link_bytes(), []);
}

#[test]
fn totals_are_the_counters() {
    let metrics = Metrics::new("demo");
    metrics.moved("tiered", &KvBytes { sent: 10, unpruned: 70, ..KvBytes::default() });
    metrics.moved("dense", &KvBytes { sent: 5, ..KvBytes::default() });
    metrics.refused("r1", &ServiceError::new(ErrorCode::Overloaded, "full"));
    metrics.failed(&Refusal::DigestMismatch.into());
    metrics.retried(PREEMPTED);
    let totals = metrics.totals();
    assert_eq!((totals.bytes.sent, totals.bytes.unpruned), (15, 70));
    assert_eq!(metrics.lately().bytes.sent, 15);
    assert_eq!(metrics.lately().errors.cluster, [("overloaded", 1)].into());
    assert_eq!(totals.errors, [("overloaded", 1)].into());
    assert_eq!(totals.refused, [(Refusal::DigestMismatch.as_str(), 1)].into());
    assert_eq!(totals.attempts, [("failed", 1)].into());
    assert_eq!(totals.requests["stop"], 0);
    let recent = metrics.recent(0);
    assert_eq!((recent[0].id.as_str(), recent[0].code, recent[0].status), ("r1", Some("overloaded"), Some(429)));
    check(
        &page(&metrics, Vec::new()),
        &[
            "secateur_request_retries_total{reason=\"preempted\",model_name=\"demo\"} 1",
            "secateur_ready{model_name=\"demo\"} 0",
        ],
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
