//! Refusals arrive whole, also at clients that send all of their body before they read.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::support::{
    nodes::Act,
    raw::{answer, head, json_of, tell},
    router::{Cluster, question},
};

/// More than sockets hold on both sides.
const BIG: usize = 24 << 20;
const CHAT: &str = "/v1/chat/completions";

fn with(mut lines: Vec<String>, more: &str) -> Vec<String> {
    lines.push(more.to_owned());
    lines
}

fn big(method: &str, path: &str, lines: &[String]) -> Vec<u8> {
    let mut request = head(method, path, lines);
    request.resize(request.len() + BIG, b' ');
    request
}

#[tokio::test]
async fn every_refusal_of_a_large_body_arrives() {
    let cluster = Cluster::start(1, 1, &["--api-key", "k", "--max-held-bytes", "65536"]).await;
    let small = Cluster::start(1, 1, &["--max-body-bytes", "4096"]).await;
    let key = "authorization: BEARER k";
    let json = json_of(BIG);
    let plain = vec!["content-type: text/plain".to_owned(), format!("content-length: {BIG}")];
    for (cluster, path, method, lines, status, code) in [
        (&cluster, CHAT, "POST", json.clone(), 401, "invalid_api_key"),
        (&cluster, "/nowhere", "POST", json.clone(), 404, "not_found"),
        (&cluster, "/health", "POST", json.clone(), 405, "method_not_allowed"),
        (&cluster, CHAT, "PUT", with(json.clone(), key), 405, "method_not_allowed"),
        (&cluster, CHAT, "POST", with(plain, key), 415, "unsupported_media_type"),
        (&cluster, CHAT, "POST", with(with(json.clone(), key), "content-encoding: br"), 415, "unsupported_encoding"),
        (&cluster, CHAT, "POST", with(json.clone(), key), 413, "payload_too_large"),
        (&small, CHAT, "POST", json.clone(), 413, "payload_too_large"),
        (&small, "/tokenize", "POST", json.clone(), 413, "payload_too_large"),
        (&small, "/v1/completions", "POST", json, 413, "payload_too_large"),
    ] {
        for _ in 0..3 {
            let told = tell(cluster.address, &big(method, path, &lines)).await;
            let told = told.unwrap_or_else(|error| panic!("{method} {path} for {status}: {error}"));
            assert_eq!((told.status(), told.code().as_deref()), (status, Some(code)), "{path}: {}", told.text);
            assert!(told.has("connection: close"), "{path}: {}", told.text);
        }
    }
}

#[tokio::test]
async fn every_refusal_under_load_arrives() {
    let cluster = Cluster::start(1, 1, &["--max-concurrent", "1", "--max-waiting", "1"]).await;
    cluster.prefill[0].script.set(Act::Hang);
    let body = question(json!({"metadata": "x".repeat(400_000)})).to_string();
    let request = [&head("POST", CHAT, &json_of(body.len())), body.as_bytes()].concat();
    let mut clients = JoinSet::new();
    for _ in 0..100 {
        let (address, request) = (cluster.address, request.clone());
        clients.spawn(async move { tell(address, &request).await });
    }
    // Two have the permits, and are not answered.
    for _ in 0..98 {
        let told = clients.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!((told.status(), told.code().as_deref()), (429, Some("overloaded")), "{}", told.text);
    }
}

#[tokio::test]
async fn a_refusal_while_stopping_arrives() {
    let cluster = Cluster::one().await;
    let mut asks = TcpStream::connect(cluster.address).await.unwrap();
    let body = br#"{"messages": [{"role": "user", "content": "hi"}]}"#;
    asks.write_all(&head("POST", CHAT, &json_of(body.len()))).await.unwrap();
    asks.write_all(&body[..5]).await.unwrap();
    // Its body is awaited, so the router goes on while it stops.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    cluster.shutdown.cancel();
    cluster.until_health(503).await;
    let told = tell(cluster.address, &big("POST", CHAT, &json_of(BIG))).await.unwrap();
    assert_eq!((told.status(), told.code().as_deref()), (503, Some("unavailable")), "{}", told.text);
    asks.write_all(&body[5..]).await.unwrap();
    assert_eq!(answer(&mut asks).await.unwrap().status(), 200, "what had begun is answered");
}

#[tokio::test]
async fn a_header_over_the_limit_is_told_so() {
    let cluster = Cluster::one().await;
    let request = head("GET", "/live", &[format!("x-big: {}", "x".repeat(BIG))]);
    let told = tell(cluster.address, &request).await.unwrap();
    assert_eq!(told.status(), 431, "{}", told.text);
}

#[tokio::test]
async fn a_small_rest_is_read_and_the_connection_stays() {
    let cluster = Cluster::one().await;
    let mut stream = TcpStream::connect(cluster.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&head("POST", "/nowhere", &json_of(100_000))).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        let told = answer(&mut stream).await.unwrap();
        assert_eq!((told.status(), told.has("connection: close")), (404, false), "{}", told.text);
    }
    stream.write_all(&head("GET", "/live", &[])).await.unwrap();
    assert_eq!(answer(&mut stream).await.unwrap().status(), 200);
}

#[tokio::test]
async fn who_asks_before_sending_is_not_asked_to_send() {
    let cluster = Cluster::one().await;
    let expects = with(json_of(100_000), "expect: 100-continue");
    let mut stream = TcpStream::connect(cluster.address).await.unwrap();
    stream.write_all(&head("POST", "/nowhere", &expects)).await.unwrap();
    let told = answer(&mut stream).await.unwrap();
    assert_eq!((told.status(), told.has("connection: close")), (404, true), "{}", told.text);
    assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0, "and the connection ends");
}
