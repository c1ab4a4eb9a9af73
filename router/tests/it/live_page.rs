//! The live page and what it reads.

use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};

use crate::support::{
    nodes::Act,
    router::{Cluster, question, until},
};

#[tokio::test]
async fn the_page_is_one_document_that_lets_in_nothing_else() {
    let cluster = Cluster::start(1, 1, &["--api-key", "secret"]).await;
    let answer = cluster.get("/").await;
    assert_eq!(answer.status(), 200, "the page itself needs no key");
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!((header("cache-control"), header("x-content-type-options")), ("no-cache".into(), "nosniff".into()));
    let policy = header("content-security-policy");
    for part in ["default-src 'none'", "script-src 'sha256-", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    let tag = header("etag");
    let page = answer.text().await.unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("Secateur"));
    assert!(!page.contains("secret"));

    let again = cluster.client.get(cluster.url("/")).header("if-none-match", format!("W/\"x\", {tag}"));
    let again = again.send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (304, tag.as_str()));
    assert!(again.headers().contains_key("content-security-policy") && again.text().await.unwrap().is_empty());
    let head = cluster.client.head(cluster.url("/")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["etag"].to_str().unwrap()), (200, tag.as_str()));
    assert_eq!(cluster.client.post(cluster.url("/")).send().await.unwrap().status(), 405);
    assert_eq!(cluster.get("/v1/cluster").await.status(), 401, "the figures do");
}

#[tokio::test]
async fn the_last_requests_are_figures_and_codes_without_a_word() {
    let cluster = Cluster::one().await;
    let empty: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    assert_eq!((&empty["recent"], &empty["totals"]["bytes"]["sent"]), (&json!([]), &json!(0)));

    let mut body = question(json!({}));
    body["messages"][0]["content"] = json!("hello hello");
    let request = cluster.client.post(cluster.url("/v1/chat/completions")).header("x-request-id", "mine-1");
    let reply: Value = request.json(&body).send().await.unwrap().json().await.unwrap();
    cluster.stream(json!({})).await;
    assert_eq!(cluster.post(&json!({"messages": "hello hello"})).await.status(), 400);

    let text = cluster.get("/v1/cluster").await.text().await.unwrap();
    let words = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!words.is_empty() && !text.contains(words) && !text.contains("hello"), "{text}");
    let view: Value = serde_json::from_str(&text).unwrap();
    let recent = view["recent"].as_array().unwrap();
    assert_eq!(recent.len(), 3);
    let first = &recent[0];
    assert_eq!((&first["number"], &first["id"], &first["code"]), (&json!(1), &json!("mine-1"), &Value::Null));
    assert_eq!((&first["receipt"], &first["usage"]), (&reply["secateur"], &reply["usage"]));
    assert_eq!(first["outcome"], reply["choices"][0]["finish_reason"]);
    assert!(first["e2e_ms"].as_f64().unwrap() > 0.0 && first["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let last = &recent[2];
    assert_eq!(
        (&last["outcome"], &last["code"], &last["status"]),
        (&json!("error"), &json!("invalid_request"), &json!(400))
    );
    assert_eq!((&last["receipt"], &last["usage"]), (&Value::Null, &Value::Null));

    let totals = &view["totals"];
    assert_eq!((&totals["bytes"]["sent"], &totals["errors"]), (&json!(2_000), &json!({"invalid_request": 1})));
    assert_eq!(totals["attempts"], json!({"ok": 2}));
    let window = &view["window"];
    assert_eq!((&window["answers"], &window["ttft_ms"]["count"]), (&json!(2), &json!(2)));
    assert_eq!(window["errors"], json!({"client": {"invalid_request": 1}, "cluster": {}}), "whose mistake it was");
    assert_eq!((&window["bytes"]["sent"], &window["slots"]["seconds"]), (&json!(2_000), &json!(10)));
    let newer: Value = cluster.get("/v1/cluster?recent_after=2").await.json().await.unwrap();
    assert_eq!(newer["recent"], json!([last]));
    for odd in
        ["recent_after=", "recent_after=-1", "recent_after=99999999999999999999", "recent_after=x&recent_after=y"]
    {
        let all: Value = cluster.get(&format!("/v1/cluster?{odd}")).await.json().await.unwrap();
        assert_eq!(all["recent"].as_array().unwrap().len(), 3, "{odd}");
    }
}

#[tokio::test]
async fn a_failure_is_one_row_and_nobody_has_left() {
    let cluster = Cluster::one().await;
    let broken = || ServiceError::new(ErrorCode::InvalidImage, "broken");
    cluster.prefill[0].script.then([Act::Refuse(broken())]);
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 400);
    cluster.decode[0].script.then([Act::Slow(300), Act::Slow(300), Act::Break(1, broken())]);
    assert_eq!(cluster.post(&question(json!({"n": 3}))).await.status(), 400);
    until("both are told of", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["recent"].as_array().unwrap().len() >= 2
    })
    .await;
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    let codes: Vec<&Value> = view["recent"].as_array().unwrap().iter().map(|request| &request["code"]).collect();
    assert_eq!(codes, ["invalid_image", "invalid_image"]);
    assert_eq!(view["totals"]["errors"], json!({"invalid_image": 2}));
    assert!(view["totals"]["requests"]["abort"].as_u64().unwrap_or(0) == 0, "{}", view["totals"]);
}

#[tokio::test]
async fn what_an_answer_shipped_counts_though_its_client_left() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Slow(2_000)]);
    let mut stream = cluster.post(&question(json!({"stream": true}))).await;
    stream.chunk().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    drop(stream);
    until("its bytes are counted", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["totals"]["bytes"]["sent"] == 1_000 && view["totals"]["requests"]["abort"] == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_shipped_counts_while_the_answer_goes_on_and_only_once() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Slow(400)]);
    let stream = cluster.post(&question(json!({"stream": true}))).await;
    until("its bytes are counted while it runs", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["links"][0]["bytes_sent"] == 1_000
            && view["totals"]["bytes"]["sent"] == 1_000
            && view["requests"]["running"] == 1
    })
    .await;
    assert!(stream.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    let bytes = &view["totals"]["bytes"];
    assert_eq!((&bytes["sent"], &bytes["unpruned"]), (&json!(1_000), &json!(2_000)));
    assert_eq!((&view["links"][0]["bytes_sent"], &view["window"]["bytes"]["sent"]), (&json!(1_000), &json!(1_000)));
}

#[tokio::test]
async fn the_page_is_told_what_the_model_takes() {
    let takes = async |tokens: u32| {
        let cluster = Cluster::of(1, 1, &[], |node| node.visual_tokens_per_image = tokens).await;
        cluster.get("/v1/cluster").await.json::<Value>().await.unwrap()
    };
    let seeing = takes(16).await;
    assert_eq!((&seeing["takes_pictures"], &seeing["root"]), (&json!(true), &json!("model")));
    assert_eq!(seeing["version"], env!("CARGO_PKG_VERSION"));
    assert!(seeing["images_max"].as_u64().is_some_and(|most| most > 0) && seeing["uptime_s"].is_u64(), "{seeing}");
    assert_eq!(takes(0).await["takes_pictures"], false);
}
