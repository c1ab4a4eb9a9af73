//! Probes and pages.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use serde_json::{Value, json};
use support::router::Cluster;

#[tokio::test]
async fn models_are_listed_and_found() {
    let cluster = Cluster::one().await;
    let list: Value = cluster.get("/v1/models").await.json().await.unwrap();
    let card = &list["data"][0];
    assert_eq!((&card["id"], &card["root"], &card["max_model_len"]), (&json!("tiny"), &json!("model"), &json!(512)));
    let one: Value = cluster.get("/v1/models/tiny").await.json().await.unwrap();
    assert_eq!(&one, card);
}

#[tokio::test]
async fn probes_are_answered() {
    let cluster = Cluster::one().await;
    for path in ["/health", "/live", "/metrics"] {
        assert_eq!(cluster.get(path).await.status(), 200);
        let head = cluster.client.head(cluster.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200);
    }
}

#[tokio::test]
async fn the_cluster_page_shows_both_nodes() {
    let cluster = Cluster::one().await;
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    assert_eq!(view["ready"], true);
    assert_eq!(view["nodes"][0]["role"], "prefill");
    assert_eq!(view["nodes"][1]["node"]["id"], "d0");
    assert_eq!(view["nodes"][0]["node"]["recommended_visual"]["keep"], 0.25);
}

#[tokio::test]
async fn metrics_count_requests_tokens_and_bytes() {
    let cluster = Cluster::one().await;
    let reply = cluster.ask(json!({})).await;
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let line = line.unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("vllm:generation_tokens_total"), reply["usage"]["completion_tokens"].as_f64().unwrap());
    assert_eq!(value("vllm:prompt_tokens_total"), reply["usage"]["prompt_tokens"].as_f64().unwrap());
    assert_eq!(value("vllm:request_success_total"), 1.0);
    assert_eq!(value("vllm:time_to_first_token_seconds_count"), 1.0);
    assert_eq!(value("secateur_kv_bytes_sent_total"), 1_000.0);
    assert_eq!(value("secateur_node_up"), 1.0);
    assert!(page.contains("secateur_request_attempts_total{model_name=\"tiny\",outcome=\"ok\"} 1"));
}
