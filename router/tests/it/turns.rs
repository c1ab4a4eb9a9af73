//! Whose turn it is, and for how long a request is waited for.

use reqwest::RequestBuilder;
use secateur_router::keys::KeyDigest;
use serde_json::{Value, json};

use crate::support::{
    nodes::Act,
    router::{Cluster, question, until},
};

const CHAT: &str = "/v1/chat/completions";

fn ask(cluster: &Cluster, id: &str, extra: Value) -> RequestBuilder {
    cluster.client.post(cluster.url(CHAT)).header("x-request-id", id).json(&question(extra))
}

async fn gauge(cluster: &Cluster, name: &str) -> f64 {
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Lets these requests wait behind one that has the only permit, one after the other, and returns the order in which
/// their turns come.
async fn order(cluster: &Cluster, requests: Vec<RequestBuilder>) -> Vec<String> {
    cluster.decode[0].script.then([Act::Hang]);
    let first = tokio::spawn(ask(cluster, "first", json!({})).send());
    until("the first one runs", async || gauge(cluster, "vllm:num_requests_running").await == 1.0).await;
    let mut waiting = Vec::new();
    for (before, request) in requests.into_iter().enumerate() {
        waiting.push(tokio::spawn(request.send()));
        let count = (before + 1) as f64;
        until("it waits", async || gauge(cluster, "vllm:num_requests_waiting").await == count).await;
    }
    // The last one is counted from its arrival on, and gets in line a moment later.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    first.abort();
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    let asked = cluster.prefill[0].script.prefill_requests.lock().unwrap();
    asked.iter().map(|request| request.request_id.clone()).filter(|id| id != "first").collect()
}

#[tokio::test]
async fn batch_yields_to_interactive() {
    let cluster = Cluster::start(1, 1, &["--max-concurrent", "1"]).await;
    let requests = vec![
        ask(&cluster, "flex", json!({"service_tier": "flex"})),
        ask(&cluster, "last", json!({"priority": 100})),
        ask(&cluster, "plain", json!({"service_tier": "auto"})),
        ask(&cluster, "sooner", json!({"priority": -100})),
    ];
    assert_eq!(order(&cluster, requests).await, ["sooner", "plain", "flex", "last"]);
}

#[tokio::test]
async fn a_key_of_class_batch_cannot_raise_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let stanza = |name: &str, priority: &str| {
        let digest = KeyDigest::of(name).to_hex();
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{digest}\"\npriority = \"{priority}\"\n")
    };
    std::fs::write(&path, stanza("slow", "batch") + &stanza("quick", "interactive")).unwrap();
    let flags = ["--max-concurrent", "1", "--api-keys-file", path.to_str().unwrap(), "--api-key", "first"];
    let mut cluster = Cluster::start(1, 1, &flags).await;
    let key = |key: &str| {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("x-api-key", key.parse().unwrap());
        reqwest::Client::builder().default_headers(headers).build().unwrap()
    };
    cluster.client = key("slow");
    let slow = ask(&cluster, "slow", json!({"priority": -100}));
    cluster.client = key("quick");
    let quick = ask(&cluster, "quick", json!({"priority": 3}));
    cluster.client = key("first");
    assert_eq!(order(&cluster, vec![slow, quick]).await, ["quick", "slow"]);
}

#[tokio::test]
async fn a_client_says_how_long_it_waits() {
    let cluster = Cluster::start(1, 1, &["--max-concurrent", "1"]).await;
    cluster.decode[0].script.set(Act::Hang);
    for request in [
        ask(&cluster, "header", json!({})).header("x-request-timeout", "0.3"),
        ask(&cluster, "field", json!({"timeout": 0.3})),
        ask(&cluster, "both", json!({"timeout": 0.3})).header("x-request-timeout", "60"),
        ask(&cluster, "either", json!({"timeout": 60})).header("x-request-timeout", "0.3"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-should-retry"].to_str().unwrap()),
            (504, "false")
        );
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "timeout");
    }
    until("the nodes are free", async || cluster.decode[0].script.active() == 0).await;
    let holds = tokio::spawn(ask(&cluster, "holds", json!({})).send());
    until("it runs", async || gauge(&cluster, "vllm:num_requests_running").await == 1.0).await;
    let waited = ask(&cluster, "waits", json!({"timeout": 0.2})).send().await.unwrap();
    assert_eq!(waited.status(), 504, "also while it waits for its turn");
    holds.abort();
    for (request, param) in [
        (ask(&cluster, "junk", json!({})).header("x-request-timeout", "soon"), "x-request-timeout"),
        (ask(&cluster, "none", json!({})).header("x-request-timeout", "0"), "x-request-timeout"),
        (ask(&cluster, "zero", json!({"timeout": 0})), "timeout"),
        (ask(&cluster, "text", json!({"timeout": "5"})), "timeout"),
        (ask(&cluster, "odd", json!({"priority": "high"})), "priority"),
        (ask(&cluster, "tier", json!({"service_tier": 5})), "service_tier"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400, "{param}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], param);
    }
}
