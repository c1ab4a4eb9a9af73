//! What a client gets when nodes fail: an answer from another pair, a clear error soon, and never wrong text.

use std::time::{Duration, Instant};

use futures::StreamExt;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};

use crate::support::{
    answer_tokens,
    nodes::Act,
    router::{Cluster, joined, question, until},
};

fn unavailable() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the node is stopping")
}

#[tokio::test]
async fn a_dead_node_is_a_503_in_two_seconds_and_answers_return_with_it() {
    let mut cluster = Cluster::one().await;
    for kill_prefill in [true, false] {
        cluster.ask(json!({})).await;
        let node = if kill_prefill { &mut cluster.prefill[0] } else { &mut cluster.decode[0] };
        node.kill();
        for _ in 0..3 {
            let asked = Instant::now();
            let response = cluster.post(&question(json!({}))).await;
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
            let body: Value = response.json().await.unwrap();
            assert_eq!(body["error"]["type"], "server_error", "{body}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        cluster.until_health(503).await;
        let node = if kill_prefill { &mut cluster.prefill[0] } else { &mut cluster.decode[0] };
        node.revive();
        cluster.until_health(200).await;
        cluster.ask(json!({})).await;
    }
}

#[tokio::test]
async fn another_pair_takes_over_before_the_first_token() {
    let cluster = Cluster::start(2, 2, &[]).await;
    until("all nodes are up", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up")
    })
    .await;
    cluster.prefill[0].script.set(Act::Refuse(unavailable()));
    cluster.decode[0].script.set(Act::Refuse(ServiceError::new(ErrorCode::Overloaded, "full")));
    for _ in 0..4 {
        let reply = cluster.ask(json!({})).await;
        assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
        assert_eq!(reply["secateur"]["prefill_node"], "p1");
        assert_eq!(reply["secateur"]["decode_node"], "d1");
        assert!(reply["secateur"]["attempts"].as_u64().unwrap() <= 3);
    }
    assert!(cluster.prefill[0].script.calls() + cluster.decode[0].script.calls() > 0);
}

#[tokio::test]
async fn a_full_cluster_is_a_429() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Refuse(ServiceError::new(ErrorCode::Overloaded, "no KV left")));
    let response = cluster.post(&question(json!({}))).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(cluster.decode[0].script.calls(), 1, "a full node is not asked again at once");
}

#[tokio::test]
async fn a_full_router_is_a_429_at_once() {
    let cluster = Cluster::start(1, 1, &["--max-concurrent", "1", "--max-waiting", "1"]).await;
    cluster.decode[0].script.set(Act::Hang);
    let ask = || {
        let request = cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({})));
        tokio::spawn(async move { request.send().await.unwrap().status() })
    };
    let (first, second) = (ask(), ask());
    until("one runs and one waits", async || {
        let page = cluster.get("/metrics").await.text().await.unwrap();
        page.contains("vllm:num_requests_running{model_name=\"tiny\"} 1")
            && page.contains("vllm:num_requests_waiting{model_name=\"tiny\"} 1")
    })
    .await;
    let response = cluster.post(&question(json!({}))).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    first.abort();
    second.abort();
}

#[tokio::test]
async fn a_client_that_leaves_cancels_both_legs() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Slow(100));
    for stream in [true, false] {
        let calls = cluster.decode[0].script.calls();
        let response =
            cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({"stream": stream})));
        let asking = tokio::spawn(async move {
            let mut body = response.send().await.unwrap().bytes_stream();
            while body.next().await.is_some() {}
        });
        until("decode works", async || cluster.decode[0].script.calls() > calls).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        asking.abort();
        let left = Instant::now();
        until("both legs are dropped", async || {
            cluster.decode[0].script.active() == 0 && cluster.prefill[0].script.active() == 0
        })
        .await;
        assert!(left.elapsed() < Duration::from_secs(2));
        until("the running gauge shows it", async || {
            cluster
                .get("/metrics")
                .await
                .text()
                .await
                .unwrap()
                .contains("vllm:num_requests_running{model_name=\"tiny\"} 0")
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_again_and_again_ends_with_an_error_event() {
    let cluster = Cluster::one().await;
    let text = "hello world, hello world";
    cluster.prefill[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.set(Act::Break(1, unavailable()));
    let events = cluster.stream(json!({})).await;
    let last = events.last().unwrap();
    assert_eq!(last["error"]["code"], "unavailable", "{last}");
    assert!(text.starts_with(&joined(&events)) && !joined(&events).is_empty());
    assert_eq!(cluster.decode[0].script.calls(), 4, "the first attempt and three replays");
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 503);
}

#[tokio::test]
async fn a_missing_token_is_never_passed_over() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Skip(2));
    let events = cluster.stream(json!({})).await;
    assert_eq!(events.last().unwrap()["error"]["code"], "internal_error");
    assert!("hello world".starts_with(&joined(&events)));
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 500);
}

/// Whoever holds half an answer waits for the only pair to come back, for a bounded time.
#[tokio::test]
async fn a_node_that_dies_for_good_in_mid_stream_ends_the_stream_and_the_other_leg() {
    let mut cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Slow(300));
    let mut body = question(json!({"stream": true}));
    body["max_tokens"] = 50.into();
    let mut stream = cluster.post(&body).await.bytes_stream();
    stream.next().await.unwrap().unwrap();
    cluster.decode[0].kill();
    let killed = Instant::now();
    let mut text = String::new();
    while let Some(Ok(bytes)) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
    assert!(text.contains("\"code\":\"unavailable\""), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
    until("prefill is free", async || cluster.prefill[0].script.active() == 0).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_on_both_nodes() {
    let cluster = Cluster::start(1, 1, &["--request-timeout", "1"]).await;
    cluster.prefill[0].script.set(Act::Hang);
    let response = cluster.post(&question(json!({}))).await;
    assert_eq!(response.status(), 504);
    assert_eq!(response.headers()["x-should-retry"], "false", "the same question would take as long again");
    until("both legs are dropped", async || {
        cluster.decode[0].script.active() == 0 && cluster.prefill[0].script.active() == 0
    })
    .await;
}

#[tokio::test]
async fn nodes_of_different_models_are_never_paired() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.description.lock().unwrap().model_fingerprint = "other".into();
    cluster.until_health(503).await;
    let body: Value = cluster.post(&question(json!({}))).await.json().await.unwrap();
    assert_eq!(body["error"]["code"], "incompatible", "{body}");
}

#[tokio::test]
async fn shutdown_finishes_what_runs_and_refuses_what_is_new() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Slow(400));
    let request = cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({})));
    let asking = tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() });
    until("decode works", async || cluster.decode[0].script.active() > 0).await;
    cluster.shutdown.cancel();
    cluster.until_health(503).await;
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 503);
    let reply = asking.await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["content"], "hello world", "{reply}");
    tokio::time::timeout(Duration::from_secs(15), cluster.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_outlasts_its_time_to_finish_is_told_so() {
    let cluster = Cluster::one().await;
    // Longer than a router that stops has patience, without a pause that is taken for a lost node.
    cluster.decode[0].script.set(Act::Slow(7_000));
    let mut streamed = question(json!({}));
    streamed["stream"] = true.into();
    let stream = cluster.post(&streamed).await;
    let whole = cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({})));
    let whole = tokio::spawn(async move { whole.send().await.unwrap() });
    until("decode works on both", async || cluster.decode[0].script.active() > 1).await;
    cluster.shutdown.cancel();
    // Its body ends as HTTP says a body ends, and its last event is the error.
    let text = stream.text().await.unwrap();
    let mut events = text.trim_end().rsplit("\n\n").map(|event| event.trim_start_matches("data: "));
    let last = events.find(|event| *event != "[DONE]").unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "unavailable", "{text}");
    let whole = whole.await.unwrap();
    assert_eq!(whole.status(), 503);
    assert_eq!(whole.json::<Value>().await.unwrap()["error"]["code"], "unavailable");
    tokio::time::timeout(Duration::from_secs(15), cluster.served).await.unwrap().unwrap();
}
