//! Tests docker-compose.yml with real containers: they start, answer, are scaled, killed and cut off, and recover.
//!
//! The tests need Docker and the images: `deploy/test/run` builds the images and runs these tests.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "what it took is for people to read")]

mod cluster;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt;
use secateur_tests::suite;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use cluster::{Cluster, docker, since_start};

/// Number of concurrent streams while nodes are cut off.
const STREAMS: usize = 8;
/// Tokens of each stream: long enough to be cut in the middle.
const STREAM_TOKENS: u32 = 2_000;

/// Counts of the ways in which streams ended.
#[derive(Debug, Default)]
struct Ends {
    whole: AtomicU32,
    /// Streams that ended with an error event, or were refused with a 503.
    told: AtomicU32,
    /// Streams without an end or an error: the client timed out, or the stream broke off.
    lost: AtomicU32,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker and its images: run deploy/test/run"]
async fn a_cluster_of_containers_serves_and_survives() {
    let began = Instant::now();
    let cluster = Arc::new(Cluster::start().unwrap());
    comes_up(&cluster, began).await;
    is_confined(&cluster);
    scales(&cluster).await;
    survives_a_killed_prefill_node(&cluster).await;
    survives_a_decode_node_that_is_cut_off(&cluster).await;
    is_scraped(&cluster).await;
    say("whole test", began.elapsed());
}

async fn comes_up(cluster: &Cluster, began: Instant) {
    let answer = cluster.until_answered(&question()).await.unwrap();
    say("from `up` to the first answer", began.elapsed());
    check_answer(&answer);
    cluster.until_serving(2, 2).await.unwrap();
    say("from `up` to four nodes", began.elapsed());
    cluster.until_shown(4).await.unwrap();
    let receipt = &answer["secateur"];
    println!("receipt of the first answer: {receipt}");
    let view = cluster.view().await.unwrap();
    let plan = receipt["plan"].as_str().unwrap();
    assert!(!plan.is_empty(), "the demo's plan is active: {receipt}");
    assert!(view["nodes"].as_array().unwrap().iter().all(|node| node["node"]["plan"] == plan), "{view}");
    assert_eq!(receipt["visual"]["method"], "coverage");
    let tokens = |stage: &str| receipt["visual"][stage].as_u64().unwrap();
    assert!(tokens("tokens_after") < tokens("tokens_before"), "{receipt}");
    assert_eq!(receipt["transfer"]["policy"], "tiered");
    assert!(receipt["transfer"]["ratio"].as_f64().unwrap() > 5.0, "{receipt}");
    let names: Vec<&str> = view["names"].as_array().unwrap().iter().filter_map(|name| name["name"].as_str()).collect();
    assert_eq!(names, ["prefill:7001", "decode:7002"]);
}

/// Checks that no Secateur container runs as root, can write to its image, or has a capability.
fn is_confined(cluster: &Cluster) {
    for service in ["router", "prefill", "decode"] {
        for id in cluster.containers(service).unwrap() {
            let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}";
            assert_eq!(docker(&["inspect", "-f", format, &id]).unwrap(), "65532:65532 true [ALL]", "{service}");
        }
    }
}

async fn scales(cluster: &Arc<Cluster>) {
    scale(cluster, "4", 4).await;
    let containers = cluster.containers("decode").unwrap();
    assert_eq!(containers.len(), 4);
    check_answer(&cluster.until_answered(&question()).await.unwrap());
    scale(cluster, "2", 2).await;
    cluster.until_shown(4).await.unwrap();
    check_answer(&cluster.until_answered(&question()).await.unwrap());
}

/// Scales decode nodes and observes the cluster while compose starts and stops containers one by one.
async fn scale(cluster: &Arc<Cluster>, count: &str, decode: usize) {
    let scaling = {
        let (cluster, decode) = (cluster.clone(), format!("decode={count}"));
        tokio::task::spawn_blocking(move || {
            cluster.compose(&["up", "-d", "--no-build", "--no-recreate", "--scale", &decode, "decode"]).unwrap();
            Instant::now()
        })
    };
    cluster.until_serving(2, decode).await.unwrap();
    let (noticed, containers) = (Instant::now(), cluster.containers("decode").unwrap());
    // Containers that were being stopped may be gone by now.
    if let Ok(ago) = since_start(&containers)
        && decode > 2
    {
        say("--scale decode=4: noticed after the last container started", ago);
    }
    let done = scaling.await.unwrap();
    println!("--scale decode={count}: noticed {:+.2} s from when compose was done", seconds_between(done, noticed));
}

async fn survives_a_killed_prefill_node(cluster: &Cluster) {
    let victim = cluster.containers("prefill").unwrap().remove(0);
    docker(&["kill", &victim]).unwrap();
    let (noticed, asked) =
        tokio::join!(cluster.until_serving(1, 2), six_questions(cluster, "a prefill node was killed"));
    say("a prefill node killed: noticed", noticed.unwrap());
    say("  six questions", asked);
    cluster.until_shown(3).await.unwrap();
    docker(&["start", &victim]).unwrap();
    say("  back: noticed after `docker start`", cluster.until_serving(2, 2).await.unwrap());
    check_answer(&cluster.until_answered(&question()).await.unwrap());
}

async fn survives_a_decode_node_that_is_cut_off(cluster: &Arc<Cluster>) {
    let (ends, goes_on) = (Arc::new(Ends::default()), Arc::new(AtomicBool::new(true)));
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let (cluster, ends, goes_on) = (cluster.clone(), ends.clone(), goes_on.clone());
        streams.spawn(async move {
            while goes_on.load(Ordering::Relaxed) {
                stream(&cluster, &ends).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (network, victim) = (cluster.nodes_network(), cluster.containers("decode").unwrap().remove(0));
    docker(&["network", "disconnect", &network, &victim]).unwrap();
    let (noticed, asked) =
        tokio::join!(cluster.until_serving(2, 1), six_questions(cluster, "a decode node was cut off"));
    say("a decode node cut off while streams run: noticed", noticed.unwrap());
    say("  six questions", asked);
    cluster.until_shown(3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    goes_on.store(false, Ordering::Relaxed);
    streams.join_all().await;
    println!("  streams meanwhile: {ends:?}");
    assert_eq!(ends.lost.load(Ordering::Relaxed), 0, "a stream ends whole or with an error that says why: {ends:?}");
    assert!(ends.whole.load(Ordering::Relaxed) > 0, "{ends:?}");
    docker(&["network", "connect", "--alias", "decode", &network, &victim]).unwrap();
    say("  back: noticed after `docker network connect`", cluster.until_serving(2, 2).await.unwrap());
    check_answer(&cluster.until_answered(&question()).await.unwrap());
}

async fn is_scraped(cluster: &Cluster) {
    let since = Instant::now();
    loop {
        let found = cluster.query("sum(secateur_node_up)").await;
        let value = found.as_ref().ok().and_then(|found| found["data"]["result"][0]["value"][1].as_str());
        if value == Some("4") {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "Prometheus sees no four nodes: {found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    say("Prometheus sees four nodes after", since.elapsed());
}

async fn six_questions(cluster: &Cluster, when: &str) -> Duration {
    let since = Instant::now();
    for _ in 0..6 {
        asked_again(cluster, when).await;
    }
    since.elapsed()
}

/// Asks one question during a fault: the result must be a right answer or a clear refusal, and never a hang.
async fn asked_again(cluster: &Cluster, when: &str) {
    let (status, body) = cluster.ask(&question()).await.unwrap_or_else(|error| panic!("{when}: {error:#}"));
    match status {
        200 => check_answer(&body),
        503 => assert!(body["error"]["message"].is_string(), "{when}: {body}"),
        status => panic!("{when}: {status} {body}"),
    }
}

/// Streams one long answer and counts how it ended.
async fn stream(cluster: &Cluster, ends: &Ends) {
    let body = json!({
        "messages": [{"role": "user", "content": "Say something."}], "temperature": 0, "stream": true,
        "ignore_eos": true, "max_tokens": STREAM_TOKENS,
    });
    let answer = cluster.client.post(cluster.url("/v1/chat/completions")).json(&body);
    // A long answer beside others takes its time; only one that stops altogether reaches this timeout.
    let end = match answer.timeout(Duration::from_secs(60)).send().await {
        Err(_) => &ends.lost,
        Ok(answer) if answer.status().as_u16() == 503 => &ends.told,
        Ok(answer) => {
            let mut text = Vec::new();
            let mut pieces = answer.bytes_stream();
            while let Some(Ok(piece)) = pieces.next().await {
                text.extend_from_slice(&piece);
            }
            let text = String::from_utf8_lossy(&text);
            match (text.trim_end().ends_with("data: [DONE]"), text.contains("\"error\"")) {
                (_, true) => &ends.told,
                (true, false) => &ends.whole,
                (false, false) => &ends.lost,
            }
        }
    };
    end.fetch_add(1, Ordering::Relaxed);
}

/// A question about the checkpoint card's sample picture.
fn question() -> Value {
    let picture = STANDARD.encode(fs::read(suite::demo().join("sample.png")).unwrap());
    json!({
        "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{picture}")}},
            {"type": "text", "text": card()["sample"]["prompt"]},
        ]}],
        "temperature": 0, "max_tokens": 48,
    })
}

fn check_answer(answer: &Value) {
    assert_eq!(answer["choices"][0]["message"]["content"], card()["sample"]["answer"], "{answer}");
}

fn card() -> Value {
    serde_json::from_slice(&fs::read(suite::demo().join("secateur.json")).unwrap()).unwrap()
}

/// Seconds from `first` to `then`; negative if `then` is earlier.
fn seconds_between(first: Instant, then: Instant) -> f64 {
    then.saturating_duration_since(first).as_secs_f64() - first.saturating_duration_since(then).as_secs_f64()
}

fn say(what: &str, took: Duration) {
    println!("{what}: {:.2} s", took.as_secs_f64());
}
