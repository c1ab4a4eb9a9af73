//! Probes and pages.

use secateur_proto::v1::Load;
use serde_json::{Value, json};

use crate::support::router::{Cluster, question, until};

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
async fn the_kv_pool_and_the_prefix_cache_are_shown() {
    let cluster = Cluster::one().await;
    let (prefill, decode) = (&cluster.prefill[0].script, &cluster.decode[0].script);
    prefill.description.lock().unwrap().load = Some(Load { prefix_queries: 30, prefix_hits: 10, ..Default::default() });
    decode.description.lock().unwrap().load = Some(Load {
        kv_blocks_used: 3,
        kv_blocks_total: 12,
        kv_block_positions: 16,
        preemptions: 2,
        ..Default::default()
    });
    until("the page shows it", async || {
        let page = cluster.get("/metrics").await.text().await.unwrap();
        [
            "vllm:kv_cache_usage_perc{model_name=\"tiny\"} 0.25",
            "vllm:num_preemptions_total{model_name=\"tiny\"} 2",
            "vllm:prefix_cache_queries_total{model_name=\"tiny\"} 30",
            "vllm:prefix_cache_hits_total{model_name=\"tiny\"} 10",
        ]
        .iter()
        .all(|line| page.contains(line))
    })
    .await;
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let of_decode = |name: &str, value: &str| {
        page.lines().any(|line| line.starts_with(name) && line.contains("decode") && line.ends_with(value))
    };
    assert!(of_decode("vllm:kv_cache_usage_perc{", " 0.25"), "{page}");
    assert!(of_decode("secateur_kv_blocks_leased{", " 3"), "{page}");
    assert!(of_decode("secateur_kv_blocks_total{", " 12"), "{page}");
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    let load = &view["nodes"][1]["node"]["load"];
    assert_eq!((&load["kv_blocks_used"], &load["kv_block_positions"]), (&json!(3), &json!(16)));
    assert_eq!(view["nodes"][0]["node"]["load"]["prefix_hits"], 10);
}

#[tokio::test]
async fn prompts_and_messages_are_tokenized() {
    let cluster = Cluster::one().await;
    let tokenize = async |body: Value| {
        let response = cluster.client.post(cluster.url("/tokenize")).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, reply) = tokenize(json!({"model": "tiny", "prompt": "hello"})).await;
    assert_eq!((status, reply), (200, json!({"count": 2, "max_model_len": 512, "tokens": [0, 263]})));
    let (_, bare) = tokenize(json!({"prompt": "hello", "add_special_tokens": false})).await;
    assert_eq!(bare["tokens"], json!([263]));
    let (_, chat) = tokenize(question(json!({}))).await;
    cluster.ask(json!({})).await;
    let sent = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().tokens;
    assert_eq!(chat["tokens"], json!(sent));
    assert_eq!(tokenize(json!({"prompt": 5})).await.0, 400);
    assert_eq!(tokenize(json!({"prompt": "x".repeat(1_000_000)})).await.1["error"]["param"], "prompt");
}

#[tokio::test]
async fn metrics_count_requests_tokens_and_bytes() {
    let cluster = Cluster::one().await;
    let reply = cluster.ask(json!({})).await;
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let value = |name: &str| -> f64 {
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).collect();
        assert!(!lines.is_empty(), "{name}");
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!(value("vllm:generation_tokens_total"), reply["usage"]["completion_tokens"].as_f64().unwrap());
    assert_eq!(value("vllm:prompt_tokens_total"), reply["usage"]["prompt_tokens"].as_f64().unwrap());
    assert_eq!(value("vllm:request_success_total"), 1.0);
    assert_eq!(value("vllm:time_to_first_token_seconds_count"), 1.0);
    assert_eq!(value("secateur_kv_bytes_sent_total"), 1_000.0);
    assert_eq!(value("secateur_kv_link_bytes_total"), 1_000.0);
    for (name, expected) in [("secateur_node_up", 2.0), ("secateur_node_usable", 2.0), ("secateur_ready", 1.0)] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert!(page.contains("secateur_request_attempts_total{model_name=\"tiny\",outcome=\"ok\"} 1"));
}
