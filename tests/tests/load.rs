//! Many users at once within a memory budget: concurrent requests change no answer, blocks run out and become free
//! again, and memory use stays flat.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use secateur_tests::{
    cluster::{Cluster, Nodes},
    role::Role,
    suite,
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

async fn cluster(prefill: &[&str], decode: &[&str]) -> Cluster {
    Nodes::start_with(PROGRAM, &suite::demo(), prefill, decode).unwrap().route(None).await.unwrap()
}

fn question(number: usize, max_tokens: usize) -> Value {
    let words = ["red", "circle", "blue", "star", "large", "square", "green", "small"];
    let text: Vec<&str> = (0..10 + number % 90).map(|at| words[(at * 5 + number) % words.len()]).collect();
    json!({
        "messages": [{"role": "user", "content": text.join(" ")}],
        "temperature": 0, "max_tokens": max_tokens, "ignore_eos": true,
        // A recomputed answer is shipped with the tokens so far, which `tiered` would divide into tiers differently.
        "secateur": {"transfer": {"policy": "dense"}},
    })
}

async fn text(cluster: &Cluster, body: &Value) -> String {
    cluster.answer(body).await.unwrap()
}

/// The value of the metric `name`, its labels ignored.
async fn metric(cluster: &Cluster, name: &str) -> f64 {
    let page = cluster.client().get(cluster.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = page.lines().find(|line| line.split([' ', '{']).next() == Some(name));
    line.unwrap_or_else(|| panic!("no metric {name}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Number of blocks in use on all nodes.
async fn blocks_in_use(cluster: &Cluster) -> f64 {
    let view: Value = cluster.client().get(cluster.url("/v1/cluster")).send().await.unwrap().json().await.unwrap();
    let nodes = view["nodes"].as_array().unwrap();
    // A node that was too busy to describe itself may still hold blocks.
    nodes.iter().map(|node| node["node"]["load"]["kv_blocks_used"].as_f64().unwrap_or(f64::INFINITY)).sum()
}

/// Waits until a figure is as expected: the router polls its nodes for figures several times a second.
async fn settles(what: &str, figure: impl AsyncFn() -> f64, expected: impl Fn(f64) -> bool) {
    let started = Instant::now();
    loop {
        let found = figure().await;
        if expected(found) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{what}: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn all_blocks_come_back(cluster: &Cluster) {
    settles("blocks in use", async || blocks_in_use(cluster).await, |used| used == 0.0).await;
}

/// Waits until the metric `name` is above zero.
async fn counts(cluster: &Cluster, name: &str) {
    settles(name, async || metric(cluster, name).await, |count| count > 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_when_blocks_run_out() {
    // A block takes 98,304 bytes: 40 blocks of 16 positions.
    let cluster = cluster(&[], &["--kv-memory", "3932160"]).await;
    let bodies: Vec<Value> = (0..12).map(|number| question(number * 7, 120 + number * 10)).collect();
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push(text(&cluster, body).await);
    }
    assert_eq!(metric(&cluster, "vllm:num_preemptions_total").await, 0.0);
    let together: Vec<String> =
        stream::iter(&bodies).map(|body| text(&cluster, body)).buffered(bodies.len()).collect().await;
    assert_eq!(together, alone);
    // Blocks did run out.
    counts(&cluster, "vllm:num_preemptions_total").await;
    all_blocks_come_back(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_answer_whatever_else_runs() {
    let cluster = cluster(&["--step-tokens", "64"], &[]).await;
    let mut body = question(3, 60);
    body["temperature"] = 1.0.into();
    body["seed"] = 1234.into();
    let alone = text(&cluster, &body).await;
    let mut other = body.clone();
    other["seed"] = 99.into();
    assert_ne!(text(&cluster, &other).await, alone);
    let bodies: Vec<Value> =
        (0..16).map(|number| if number % 4 == 0 { body.clone() } else { question(number, 80) }).collect();
    let together: Vec<String> =
        stream::iter(&bodies).map(|body| text(&cluster, body)).buffered(bodies.len()).collect().await;
    for (number, found) in together.iter().enumerate().filter(|(number, _)| number % 4 == 0) {
        assert_eq!(*found, alone, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_begins_alike_is_cached_and_answered_alike() {
    let cluster = cluster(&[], &[]).await;
    let body = question(89, 20);
    let (_, first) = cluster.chat(&body).await.unwrap();
    let (_, again) = cluster.chat(&body).await.unwrap();
    let cached = |reply: &Value| reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(&first), 0);
    let prompt = again["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(cached(&again), (prompt - 1) / 16 * 16);
    assert_eq!(first["choices"][0]["message"]["content"], again["choices"][0]["message"]["content"]);
    counts(&cluster, "vllm:prefix_cache_hits_total").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_is_a_400_that_names_the_limit() {
    // 8 blocks hold 128 positions.
    let cluster = cluster(&[], &["--kv-memory", "786432"]).await;
    let mut body = question(0, 10);
    body["messages"][0]["content"] = "star ".repeat(300).into();
    let (status, reply) = cluster.chat(&body).await.unwrap();
    assert_eq!(status, 400, "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("maximum context length") && message.contains("128"), "{message}");
}

/// Private memory of a process: the shared mapping of the checkpoint is not counted.
fn own_memory(role: &Role) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", role.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_two_thousand_mixed_requests() {
    // The pool is small enough to be fully used during the warm-up.
    let cluster = cluster(&["--kv-memory", "16MiB"], &["--kv-memory", "16MiB"]).await;
    let cases = suite::cases().unwrap();
    let pictured: Vec<Value> = cases.iter().take(40).map(|case| case.body(&suite::exact()).unwrap()).collect();
    let body = |number: usize| match number % 5 {
        0 => pictured[number % pictured.len()].clone(),
        _ => question(number, 1 + number * 7 % 40),
    };
    let run = async |range: std::ops::Range<usize>| {
        let answers = stream::iter(range).map(|number| {
            let body = body(number);
            let cluster = &cluster;
            async move { cluster.chat(&body).await.unwrap() }
        });
        answers.buffer_unordered(12).for_each(async |(status, reply)| assert!(status.is_success(), "{reply}")).await;
    };
    run(0..600).await;
    let roles = [&cluster.prefill, &cluster.decode, &cluster.router];
    let warm = roles.map(own_memory);
    run(600..2_600).await;
    for ((role, warm), name) in roles.into_iter().zip(warm).zip(["prefill", "decode", "router"]) {
        let end = own_memory(role);
        println!("{name}: {} KiB after 600 requests, {} KiB after 2,600", warm >> 10, end >> 10);
        // Five percent growth, and the memory that an allocator retains for a process of this size.
        assert!(end as f64 <= warm as f64 * 1.05 + (4 << 20) as f64, "{name} grew from {warm} to {end} bytes");
    }
    all_blocks_come_back(&cluster).await;
}
