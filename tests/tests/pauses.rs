//! Nodes that freeze and die during streams, as real processes: no request fails, and no stream pauses for long.
//!
//! The measurements are printed: `cargo test --release -p secateur-tests --test pauses -- --nocapture`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use reqwest::Client;
use secateur_tests::{role::Role, suite};
use serde_json::{Value, json};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Lock that limits the tests to one cluster at a time.
static ONE_CLUSTER: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Number of concurrent streams.
const READERS: usize = 4;
/// Longest acceptable pause of a stream.
// The aim is five seconds; the excess also depends on the machine, so only twice as much counts as a defect here.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause between a fault's end and the next fault.
const REST: Duration = Duration::from_secs(2);

/// Nodes and a router.
struct Cluster {
    nodes: Vec<Role>,
    router: Role,
    client: Client,
}

/// Observations of the readers.
#[derive(Debug, Default)]
struct Seen {
    answers: u32,
    replayed: u32,
    failures: Vec<String>,
    longest_pause: Duration,
    longest_first: Duration,
}

impl Cluster {
    /// Starts a cluster with `of_each` nodes of each role, the prefill nodes first.
    async fn start(of_each: usize) -> Self {
        let model = suite::demo().to_string_lossy().into_owned();
        let start = |role: &str| Role::start(PROGRAM, &[role, "--model", &model, "--dtype", "f32", "--threads", "1"]);
        let roles = ["prefill", "decode"].into_iter().flat_map(|role| std::iter::repeat_n(role, of_each));
        let nodes: Vec<Role> = roles.map(|role| start(role).unwrap()).collect();
        let addresses = |nodes: &[Role]| {
            let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
            addresses.join(",")
        };
        let (prefill, decode) = nodes.split_at(of_each);
        let (prefill, decode) = (addresses(prefill), addresses(decode));
        let router =
            Role::start(PROGRAM, &["router", "--model", &model, "--prefill", &prefill, "--decode", &decode]).unwrap();
        let cluster = Self { nodes, router, client: Client::builder().no_proxy().build().unwrap() };
        cluster.all_are_up().await;
        cluster
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.router.address)
    }

    async fn all_are_up(&self) {
        let started = Instant::now();
        loop {
            let view: Value = self.client.get(self.url("/v1/cluster")).send().await.unwrap().json().await.unwrap();
            let nodes = view["nodes"].as_array().unwrap();
            if nodes.len() == self.nodes.len() && nodes.iter().all(|node| node["unusable"].is_null()) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{view}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Readers that request one answer after another until `is_over`.
    fn readers(&self, is_over: &Arc<AtomicBool>, seen: &Arc<Mutex<Seen>>) -> impl Future<Output = ()> + use<> {
        let readers = (0..READERS).map(|reader| {
            let (client, url) = (self.client.clone(), self.url("/v1/chat/completions"));
            let (is_over, seen) = (is_over.clone(), seen.clone());
            tokio::spawn(async move {
                let mut number = reader;
                while !is_over.load(Ordering::Relaxed) {
                    read(&client, &url, number, &seen).await;
                    number += READERS;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        async move {
            join_all(readers).await.into_iter().for_each(|read| read.unwrap());
        }
    }
}

/// A question whose answer takes as long as the context allows, with visible text in every token: after an end token
/// that is only ignored the demo produces no text for seconds, which would look like a pause.
fn question(number: usize) -> Value {
    let words = ["red", "circle", "blue", "star", "large", "square", "green", "small"];
    let text: Vec<&str> = (0..10 + number % 40).map(|at| words[(at * 5 + number) % words.len()]).collect();
    json!({
        "messages": [{"role": "user", "content": text.join(" ")}],
        "temperature": 0, "max_tokens": 1_000, "min_tokens": 1_000,
        "stream": true, "stream_options": {"include_usage": true},
    })
}

/// Reads one answer and records its course.
async fn read(client: &Client, url: &str, number: usize, seen: &Mutex<Seen>) {
    let asked = Instant::now();
    let response = client.post(url).json(&question(number)).send().await.unwrap();
    let status = response.status();
    let mut events = response.bytes_stream();
    let (mut text, mut last) = (String::new(), None);
    let (mut first, mut longest) = (Duration::ZERO, Duration::ZERO);
    while let Some(Ok(bytes)) = events.next().await {
        let now = Instant::now();
        match last.replace(now) {
            None => first = now - asked,
            Some(last) => longest = longest.max(now - last),
        }
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    longest = longest.max(last.unwrap_or(asked).elapsed());
    let mut seen = seen.lock().unwrap();
    seen.longest_pause = seen.longest_pause.max(longest);
    seen.longest_first = seen.longest_first.max(first);
    if status.is_success() && text.ends_with("data: [DONE]\n\n") {
        seen.answers += 1;
        seen.replayed += u32::from(!text.contains("\"attempts\":1,"));
    } else {
        let end = text.rsplit("\n\n").find(|event| !event.is_empty()).unwrap_or_default();
        seen.failures.push(format!("{status}: {end}"));
    }
}

fn report(name: &str, seen: &Seen) -> String {
    let mut line = String::new();
    let Seen { answers, replayed, failures, longest_pause, longest_first } = seen;
    write!(
        line,
        "{name}: {answers} answers, {replayed} of them over several attempts, {} failed, longest pause of a stream \
         {longest_pause:.2?}, longest wait for the first token {longest_first:.2?}",
        failures.len()
    )
    .unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_of_two_pairs_pauses_for_long_whatever_one_node_does() {
    let _alone = ONE_CLUSTER.lock().await;
    let mut cluster = Cluster::start(2).await;
    for kills in [false, true] {
        let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default());
        let reading = cluster.readers(&is_over, &seen);
        for node in 0..cluster.nodes.len() {
            sleep(REST).await;
            if kills {
                cluster.nodes[node].kill();
                sleep(REST).await;
                cluster.nodes[node].restart().unwrap();
            } else {
                cluster.nodes[node].freeze().unwrap();
                sleep(Duration::from_secs(8)).await;
                cluster.nodes[node].thaw().unwrap();
            }
            cluster.all_are_up().await;
        }
        is_over.store(true, Ordering::Relaxed);
        reading.await;
        let seen = seen.lock().unwrap();
        let line = report(if kills { "four nodes killed" } else { "four nodes frozen" }, &seen);
        println!("{line}");
        assert!(seen.failures.is_empty(), "{line}: {:?}", seen.failures);
        assert!(seen.replayed > 0, "{line}: no fault met a stream");
        assert!(seen.longest_pause < PAUSE_MAX && seen.longest_first < PAUSE_MAX, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_the_only_pair_is_a_pause_and_no_failure() {
    let _alone = ONE_CLUSTER.lock().await;
    let cluster = Cluster::start(1).await;
    let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Seen>>::default());
    let reading = cluster.readers(&is_over, &seen);
    for node in 0..cluster.nodes.len() {
        sleep(REST).await;
        cluster.nodes[node].freeze().unwrap();
        sleep(Duration::from_secs(2)).await;
        cluster.nodes[node].thaw().unwrap();
        cluster.all_are_up().await;
    }
    is_over.store(true, Ordering::Relaxed);
    reading.await;
    let seen = seen.lock().unwrap();
    let line = report("the only pair frozen for 2 s", &seen);
    println!("{line}");
    assert!(seen.failures.is_empty(), "{line}: {:?}", seen.failures);
}
