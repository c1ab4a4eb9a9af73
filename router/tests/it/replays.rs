//! An answer that is set back goes on: no token is repeated, none is lost, and the client sees one answer.

use std::time::{Duration, Instant};

use futures::StreamExt;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};

use crate::support::{
    answer_tokens,
    nodes::Act,
    router::{Cluster, joined, question, until},
};

const TEXT: &str = "hello world, hello 你好, is the world there?";

async fn answering(prefill: usize, decode: usize) -> Cluster {
    let cluster = Cluster::start(prefill, decode, &[]).await;
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        node.script.answer(answer_tokens(TEXT));
    }
    cluster.until_all_up().await;
    cluster
}

fn failure(code: ErrorCode) -> ServiceError {
    ServiceError::new(code, "set back")
}

async fn outcomes(cluster: &Cluster) -> [u32; 3] {
    let page = cluster.get("/metrics").await.text().await.unwrap();
    ["ok", "failed", "preempted"].map(|outcome| {
        let line = page.lines().find(|line| {
            line.starts_with("secateur_request_attempts_total{") && line.contains(&format!("outcome=\"{outcome}\""))
        });
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    })
}

#[tokio::test]
async fn a_preempted_answer_goes_on_where_it_ended() {
    let cluster = answering(1, 1).await;
    let (prefill, decode) = (&cluster.prefill[0].script, &cluster.decode[0].script);
    decode.then([Act::Preempt(3), Act::Preempt(0)]);
    let reply = cluster.ask(json!({"seed": 5})).await;
    let tokens = answer_tokens(TEXT);
    assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply["usage"]["completion_tokens"], tokens.len() - 1, "without the end token");

    let generate = decode.generate_requests.lock().unwrap().clone();
    let emitted: Vec<&[u32]> = generate.iter().map(|request| request.emitted.as_slice()).collect();
    // An attempt brings its first token and those of decode.
    assert_eq!(emitted, [&[], &tokens[..4], &tokens[..5]]);
    let runs = prefill.prefill_requests.lock().unwrap().clone();
    for (index, (run, generate)) in runs.iter().zip(&generate).enumerate() {
        assert_eq!((&run.emitted, &run.sampling, &run.epoch), (&generate.emitted, &generate.sampling, &generate.epoch));
        assert_eq!((&run.tokens, run.epoch.clone().unwrap().attempt), (&runs[0].tokens, index as u32 + 1));
        assert_eq!(run.epoch.clone().unwrap().id, reply["secateur"]["epoch"].as_str().unwrap());
        assert_eq!(generate.max_new_tokens, 512 - runs[0].tokens.len() as u32);
        assert_eq!(generate.prompt_positions_max as usize, runs[0].tokens.len() + generate.emitted.len());
    }
    let receipt = &reply["secateur"];
    assert_eq!(receipt["attempts"], 3);
    assert_eq!((&receipt["transfer"]["bytes_sent"], &receipt["transfer"]["wire_ms"]), (&json!(3_000), &json!(9.0)));
    assert_eq!(receipt["transfer"]["bytes_unpruned"], 2_000, "the baseline is what was asked for, once");
    assert_eq!(receipt["timing"]["decode_ms"], 12.0);
    assert_eq!(receipt["timing"]["prefill_ms"], 2.0, "up to the first token it is the first attempt's");
    assert_eq!(outcomes(&cluster).await, [1, 0, 2]);
}

/// Decode never sends its end token; prefill sends what it draws, and in a replay that may be the end.
#[tokio::test]
async fn an_end_token_is_not_counted_whichever_node_drew_it() {
    let cluster = answering(1, 1).await;
    let tokens = answer_tokens(TEXT).len() - 1;
    for preempted_after in 0..tokens {
        cluster.decode[0].script.then([Act::Preempt(preempted_after)]);
        let reply = cluster.ask(json!({})).await;
        assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
        assert_eq!(reply["choices"][0]["finish_reason"], "stop");
        assert_eq!(reply["usage"]["completion_tokens"], tokens, "preempted after {preempted_after}");
    }
    cluster.prefill[0].script.answer(answer_tokens(""));
    cluster.decode[0].script.answer(answer_tokens(""));
    let reply = cluster.ask(json!({})).await;
    assert_eq!(
        (&reply["usage"]["completion_tokens"], &reply["choices"][0]["finish_reason"]),
        (&json!(0), &json!("stop"))
    );
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let counted = page.lines().find(|line| line.starts_with("vllm:generation_tokens_total")).unwrap();
    assert_eq!(counted.rsplit(' ').next().unwrap(), (tokens * tokens).to_string());
}

#[tokio::test]
async fn a_stream_shows_nothing_of_its_replays() {
    let cluster = answering(1, 1).await;
    let plain = cluster.stream(json!({"seed": 5})).await;
    cluster.decode[0].script.then([Act::Preempt(6), Act::Preempt(1), Act::Preempt(2)]);
    let replayed = cluster.stream(json!({"seed": 5})).await;
    let deltas = |events: &[Value]| -> Vec<Value> {
        events.iter().filter(|event| event.is_object()).map(|event| event["choices"].clone()).collect()
    };
    assert_eq!(deltas(&replayed), deltas(&plain));
    assert_eq!(joined(&replayed), TEXT);
    let stopped = json!({"stop": "there"});
    cluster.decode[0].script.then([Act::Preempt(6), Act::Preempt(1), Act::Preempt(2)]);
    assert_eq!(joined(&cluster.stream(stopped).await), "hello world, hello 你好, is the world ");
}

/// The deadline bounds it, not a count: half an answer is worth waiting for.
#[tokio::test]
async fn an_answer_preempted_at_every_token_is_still_whole() {
    let cluster = answering(1, 1).await;
    cluster.decode[0].script.set(Act::Preempt(0));
    assert_eq!(joined(&cluster.stream(json!({})).await), TEXT);
    assert!(cluster.decode[0].script.calls() > 9);
}

#[tokio::test]
async fn a_replay_waits_for_room() {
    let cluster = answering(1, 1).await;
    let full = Act::Refuse(failure(ErrorCode::Overloaded));
    cluster.decode[0].script.then([Act::Preempt(2), full.clone(), full]);
    let reply = cluster.ask(json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
    assert_eq!(reply["secateur"]["attempts"], 4);
    assert_eq!(outcomes(&cluster).await, [1, 2, 1]);
}

#[tokio::test]
async fn only_the_last_token_is_missing_and_needs_no_decode_node() {
    let cluster = answering(1, 1).await;
    cluster.decode[0].script.then([Act::Preempt(1)]);
    let reply = cluster.ask(json!({"max_tokens": 3})).await;
    assert_eq!(
        (&reply["choices"][0]["finish_reason"], &reply["usage"]["completion_tokens"]),
        (&json!("length"), &json!(3))
    );
    assert_eq!(reply["secateur"]["decode_node"], "d0", "it made the part before");
    let last = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!((last.decode_address.as_str(), last.emitted.len()), ("", 2));
    assert_eq!(cluster.decode[0].script.calls(), 1);
}

#[tokio::test]
async fn a_node_lost_after_the_last_token_changes_nothing() {
    let cluster = answering(1, 1).await;
    cluster.decode[0].script.set(Act::Break(3, failure(ErrorCode::Unavailable)));
    let reply = cluster.ask(json!({"max_tokens": 4})).await;
    assert_eq!((&reply["choices"][0]["finish_reason"], &reply["secateur"]["attempts"]), (&json!("length"), &json!(1)));
}

#[tokio::test]
async fn a_failure_after_the_first_token_is_replayed_on_another_pair() {
    for code in [ErrorCode::Unavailable, ErrorCode::KvRefused] {
        let cluster = answering(2, 2).await;
        for node in &cluster.decode {
            node.script.then([Act::Break(3, failure(code))]);
        }
        let reply = cluster.ask(json!({})).await;
        assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
        assert_eq!(reply["secateur"]["attempts"], 3, "both decode nodes fail once");
        assert_eq!(outcomes(&cluster).await, [1, 2, 0]);
    }
}

#[tokio::test]
async fn a_prefill_leg_that_breaks_after_the_first_token_is_replayed() {
    let cluster = answering(1, 1).await;
    cluster.decode[0].script.set(Act::Slow(20));
    cluster.prefill[0].script.then([Act::Break(0, failure(ErrorCode::Unavailable))]);
    let reply = cluster.ask(json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], TEXT);
    assert_eq!(reply["secateur"]["attempts"], 2);
    until("nothing is left on the nodes", async || cluster.decode[0].script.active() == 0).await;
}

#[tokio::test]
async fn a_stream_survives_the_death_of_its_decode_node() {
    let mut cluster = answering(1, 2).await;
    for node in &cluster.decode {
        node.script.set(Act::Slow(60));
    }
    let mut stream = cluster.post(&question(json!({"stream": true}))).await.bytes_stream();
    let mut text = String::new();
    while !text.contains("hello") {
        text.push_str(&String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()));
    }
    let busy = cluster.decode.iter().position(|node| node.script.active() > 0).unwrap();
    cluster.decode[busy].kill();
    let killed = Instant::now();
    while let Some(Ok(bytes)) = stream.next().await {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let deltas = text.split_terminator("\n\n").filter_map(|event| {
        let event: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    });
    assert_eq!(deltas.collect::<String>(), TEXT);
}

#[tokio::test]
async fn a_replay_never_outlives_the_deadline() {
    let cluster = Cluster::start(1, 1, &["--request-timeout", "1"]).await;
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        node.script.answer(answer_tokens(TEXT));
    }
    cluster.decode[0].script.set(Act::Preempt(0));
    let asked = Instant::now();
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 504);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}
