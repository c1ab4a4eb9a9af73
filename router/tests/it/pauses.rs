//! Nodes that freeze and links that carry nothing: a stream pauses for a moment, and nobody hears of it otherwise.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::support::{
    answer_tokens,
    nodes::{Act, DeadLink},
    router::{Cluster, question, until},
};

const TEXT: &str = "hello world, hello 你好, is the world there? hello world, hello 你好, is the world there?";
/// No stream may pause for longer while another pair is there: twice the aim, as a machine may be busy.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longer than a busy machine leaves a living node silent, and shorter than what is taken for its end.
const MOMENT: Duration = Duration::from_millis(2_000);

/// So many nodes, whose answers take a few seconds.
async fn slow(prefill: usize, decode: usize) -> Cluster {
    let cluster = Cluster::start(prefill, decode, &[]).await;
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        node.script.answer(answer_tokens(TEXT));
    }
    cluster.decode.iter().for_each(|node| node.script.set(Act::Slow(100)));
    until_all_are_up(&cluster).await;
    cluster
}

async fn until_all_are_up(cluster: &Cluster) {
    until("all nodes are up", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up")
    })
    .await;
}

/// A stream that is being read.
struct Reading {
    events: Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
    last: Instant,
    longest: Duration,
}

impl Reading {
    async fn begin(cluster: &Cluster) -> Self {
        let body = question(json!({"stream": true, "stream_options": {"include_usage": true}}));
        let response = cluster.post(&body).await;
        assert_eq!(response.status(), 200);
        let events = response.bytes_stream().boxed();
        Self { events, text: String::new(), last: Instant::now(), longest: Duration::ZERO }
    }

    /// False at its end.
    async fn read(&mut self) -> bool {
        let event = self.events.next().await;
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        match event {
            Some(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes.unwrap())),
            None => return false,
        }
        true
    }

    async fn until_it_is_under_way(&mut self) {
        while self.text.matches("data: ").count() < 8 {
            assert!(self.read().await, "{}", self.text);
        }
    }

    /// Reads to the end, which must be the answer's; returns its receipt and the longest pause.
    async fn finish(mut self) -> (Value, Duration) {
        while self.read().await {}
        assert!(self.text.ends_with("data: [DONE]\n\n"), "{}", self.text);
        let events = self.text.split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: "));
        let events: Vec<Value> = events.filter_map(|event| serde_json::from_str(event).ok()).collect();
        let text = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
        assert_eq!(text.collect::<String>(), TEXT);
        let receipt = events.iter().find_map(|event| event.get("secateur").filter(|receipt| receipt.is_object()));
        (receipt.unwrap().clone(), self.longest)
    }
}

#[tokio::test]
async fn streams_of_a_frozen_decode_node_go_on_elsewhere() {
    let mut cluster = slow(2, 2).await;
    let mut readings = Vec::new();
    for _ in 0..4 {
        let mut reading = Reading::begin(&cluster).await;
        reading.until_it_is_under_way().await;
        readings.push(reading);
    }
    cluster.decode[0].freeze();
    for done in futures::future::join_all(readings.into_iter().map(Reading::finish)).await {
        assert!(done.1 < PAUSE_MAX, "{:?}", done.1);
        assert_eq!(done.0["decode_node"], "d1");
    }
    // Requests that come now do not wait for it.
    let asked = Instant::now();
    cluster.decode[1].script.set(Act::Answer);
    for _ in 0..4 {
        cluster.ask(json!({})).await;
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_frozen_prefill_node_holds_nobody_up() {
    let mut cluster = slow(2, 2).await;
    cluster.decode.iter().for_each(|node| node.script.set(Act::Answer));
    cluster.prefill[0].freeze();
    let asked = Instant::now();
    let replies = futures::future::join_all((0..4).map(|_| cluster.ask(json!({})))).await;
    assert!(asked.elapsed() < PAUSE_MAX, "{:?}", asked.elapsed());
    assert!(replies.iter().all(|reply| reply["secateur"]["prefill_node"] == "p1"));
}

/// Before, two late answers in a row, or one late ping, took a node away that was only busy.
#[tokio::test]
async fn a_node_that_is_late_is_not_lost() {
    let mut cluster = slow(1, 1).await;
    let mut reading = Reading::begin(&cluster).await;
    reading.until_it_is_under_way().await;
    cluster.decode[0].freeze();
    let frozen = Instant::now();
    while frozen.elapsed() < MOMENT {
        assert_eq!(cluster.get("/health").await.status(), 200, "after {:?}", frozen.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A request that comes now is the node's as well: there is no other.
    let asking = cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({})));
    let asking = tokio::spawn(async move { asking.send().await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.decode[0].thaw();
    assert_eq!(asking.await.unwrap(), 200);
    let (receipt, _) = reading.finish().await;
    assert_eq!(receipt["attempts"], 1, "nothing was taken away from it");
}

#[tokio::test]
async fn the_only_pair_is_waited_for_when_it_was_frozen_for_longer() {
    let mut cluster = slow(1, 1).await;
    let mut reading = Reading::begin(&cluster).await;
    reading.until_it_is_under_way().await;
    cluster.decode[0].freeze();
    cluster.until_health(503).await;
    cluster.decode[0].thaw();
    let (receipt, _) = reading.finish().await;
    assert_eq!(receipt["attempts"], 2);
}

#[tokio::test]
async fn the_only_pair_is_waited_for_while_a_node_starts_again() {
    let mut cluster = slow(1, 1).await;
    for kills_prefill in [false, true] {
        let mut reading = Reading::begin(&cluster).await;
        reading.until_it_is_under_way().await;
        if kills_prefill {
            // The stream is decode's alone by now; what dies is what its replay needs.
            cluster.prefill[0].kill();
        }
        cluster.decode[0].kill();
        cluster.until_health(503).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cluster.decode[0].revive();
        if kills_prefill {
            cluster.prefill[0].revive();
        }
        let (receipt, _) = reading.finish().await;
        assert!(receipt["attempts"].as_u64().unwrap() > 1);
        cluster.until_health(200).await;
    }
}

/// A connection that broke, or a node that starts again: a request that comes in between waits for a moment.
#[tokio::test]
async fn a_request_that_finds_no_pair_waits_for_a_moment() {
    let mut cluster = Cluster::one().await;
    cluster.decode[0].kill();
    cluster.until_health(503).await;
    let asking = cluster.client.post(cluster.url("/v1/chat/completions")).json(&question(json!({})));
    let asking = tokio::spawn(async move { asking.send().await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.decode[0].revive();
    assert_eq!(asking.await.unwrap(), 200);
}

#[tokio::test]
async fn a_link_that_carries_nothing_is_not_chosen_again() {
    for (prefill, decode) in [(1, 2), (2, 1), (2, 2)] {
        let cluster = Cluster::start(prefill, decode, &[]).await;
        until_all_are_up(&cluster).await;
        let dead = cluster.decode[0].address.to_string();
        let link = DeadLink { decode: cluster.decode[0].script.clone(), noticed_after: 1_500 };
        cluster.prefill[0].script.dead_links.lock().unwrap().insert(dead.clone(), link);
        cluster.decode.iter().for_each(|node| node.script.set(Act::Slow(30)));
        let of_dead = |cluster: &Cluster| {
            let requests = cluster.prefill[0].script.prefill_requests.lock().unwrap();
            requests.iter().filter(|request| request.decode_address == dead).count()
        };
        let mut retries = 0;
        for number in 0..8 {
            let asked = Instant::now();
            let reply = cluster.ask(json!({})).await;
            assert!(asked.elapsed() < PAUSE_MAX, "{:?}", asked.elapsed());
            assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
            retries += reply["secateur"]["attempts"].as_u64().unwrap() as usize - 1;
            if number == 0 {
                let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
                let links = view["links"].as_array().unwrap();
                let resting: Vec<_> = links.iter().filter(|link| !link["rests_s"].is_null()).collect();
                assert_eq!((resting.len(), &resting[0]["decode"]), (1, &json!(dead)), "{view}");
            }
        }
        // Once more where the machine is so slow that the link has rested meanwhile.
        let used = of_dead(&cluster);
        assert!((1..=2).contains(&used) && retries == used, "{prefill} and {decode}: {used} times, {retries} retries");
    }
}
