//! The end of a cluster that is stopped by hand.

use std::time::Duration;

use reqwest::{Client, Response};
use secateur_tests::suite::demo;
use serde_json::json;

use super::served::Up;

/// Streams and tokens that take several seconds after the signal.
const STREAMS: usize = 6;
const TOKENS: u32 = 2_000;

/// A long answer in progress.
struct Stream {
    text: String,
    answer: Response,
}

impl Stream {
    async fn begin(base: &str) -> Self {
        let body = json!({
            "messages": [{"role": "user", "content": "Say something."}], "temperature": 0, "stream": true,
            "ignore_eos": true, "max_tokens": TOKENS,
        });
        let answer = Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{base}/v1/chat/completions"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let mut stream = Self { text: String::new(), answer };
        assert!(stream.piece().await, "it ended before it began");
        stream
    }

    async fn piece(&mut self) -> bool {
        match self.answer.chunk().await {
            Ok(Some(piece)) => {
                self.text.push_str(&String::from_utf8_lossy(&piece));
                true
            }
            _ => false,
        }
    }

    /// Reads the rest of the answer; returns whether it ended regularly.
    async fn ends_whole(mut self) -> bool {
        while self.piece().await {}
        self.text.trim_end().ends_with("data: [DONE]")
    }
}

async fn streams(up: &Up) -> Vec<Stream> {
    futures::future::join_all((0..STREAMS).map(|_| Stream::begin(up.base()))).await
}

fn start() -> Up {
    Up::start(&["--model", demo().to_str().unwrap(), "--threads", "1"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_streams_are_finished_after_ctrl_c() {
    let mut up = start();
    let streams = streams(&up).await;
    let stopped = std::time::Instant::now();
    up.interrupt();
    up.until_said(&format!("finishing {STREAMS} requests; again to stop now"));
    let ends = futures::future::join_all(streams.into_iter().map(Stream::ends_whole)).await;
    eprintln!("the last stream ended {:.1} s after the signal", stopped.elapsed().as_secs_f64());
    assert_eq!(ends, [true; STREAMS], "{}", up.said());
    assert_eq!(up.ended().code(), Some(0), "{}", up.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisors_signal_is_as_kind() {
    let mut up = start();
    let stream = Stream::begin(up.base()).await;
    up.terminate();
    up.until_said("finishing 1 request; again to stop now");
    assert!(stream.ends_whole().await, "{}", up.said());
    assert_eq!(up.ended().code(), Some(0), "{}", up.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ctrl_c_ends_everything_at_once() {
    let mut up = start();
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    let view: serde_json::Value =
        client.get(format!("{}/v1/cluster", up.base())).send().await.unwrap().json().await.unwrap();
    let nodes: Vec<String> =
        view["nodes"].as_array().unwrap().iter().map(|node| node["address"].as_str().unwrap().to_owned()).collect();
    let streams = streams(&up).await;
    up.interrupt();
    up.until_said("again to stop now");
    up.interrupt();
    assert_eq!(up.ended().code(), Some(130), "{}", up.said());
    let ends = futures::future::join_all(streams.into_iter().map(Stream::ends_whole)).await;
    assert!(ends.contains(&false), "nothing ran any more when the second signal came");
    // No process is left behind, whether it was draining or not.
    for address in nodes.iter().map(String::as_str).chain([up.base().trim_start_matches("http://")]) {
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{address} still listens");
    }
}

#[test]
fn an_idle_cluster_stops_without_a_word_about_requests() {
    let mut up = start();
    up.interrupt();
    assert_eq!(up.ended().code(), Some(0), "{}", up.said());
    assert!(!up.said().contains("again to stop"), "{}", up.said());
    assert_eq!(std::fs::read_dir(up.session.path().join("secateur")).unwrap().count(), 0);
}
