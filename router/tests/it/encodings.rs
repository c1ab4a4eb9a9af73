//! Bodies that were compressed on the way.

use std::io::Write;

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::router::{Cluster, question};

async fn post(cluster: &Cluster, encoding: &str, body: Vec<u8>) -> Response {
    let request = cluster.client.post(cluster.url("/v1/chat/completions")).header("content-type", "application/json");
    request.header("content-encoding", encoding).body(body).send().await.unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_inflated() {
    let cluster = Cluster::one().await;
    let body = question(json!({})).to_string().into_bytes();
    for (encoding, sent) in [
        ("gzip", gzip(&body)),
        ("GZIP", gzip(&body)),
        ("deflate", zlib(&body)),
        ("identity", body.clone()),
        ("deflate, gzip", gzip(&zlib(&body))),
        ("zstd", zstd(&body)),
        ("gzip, zstd", zstd(&gzip(&body))),
    ] {
        let response = post(&cluster, encoding, sent).await;
        assert_eq!(response.status(), 200, "{encoding}");
        let reply: Value = response.json().await.unwrap();
        assert_eq!(reply["choices"][0]["message"]["content"], "hello world", "{encoding}: {reply}");
    }
    let request = cluster.client.post(cluster.url("/tokenize")).header("content-encoding", "gzip");
    let response = request.body(gzip(br#"{"prompt": "hi"}"#)).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_named_and_those_that_are_listed() {
    let cluster = Cluster::one().await;
    let response = post(&cluster, "br", vec![1, 2, 3]).await;
    assert_eq!(response.status(), 415);
    assert_eq!(response.headers()["accept-encoding"], "gzip, deflate, zstd");
    let reply: Value = response.json().await.unwrap();
    assert_eq!(reply["error"]["code"], "unsupported_encoding", "{reply}");
    assert!(reply["error"]["message"].as_str().unwrap().contains("\"br\""), "{reply}");
    let request = cluster.client.post(cluster.url("/v1/chat/completions")).header("content-type", "text/plain");
    let response = request.body("{}").send().await.unwrap();
    assert_eq!(response.status(), 415);
    assert!(!response.headers().contains_key("accept-encoding"), "the encoding is not at fault");
}

#[tokio::test]
async fn a_bomb_stops_at_the_body_limit_and_damage_is_the_clients() {
    let cluster = Cluster::start(1, 1, &["--max-body-bytes", "100000"]).await;
    let (bomb, zstd_bomb) = (gzip(&vec![b' '; 30_000_000]), zstd(&vec![b' '; 30_000_000]));
    assert!(bomb.len() < 100_000 && zstd_bomb.len() < 100_000);
    for (encoding, sent, status) in [
        ("gzip", bomb.clone(), 413),
        ("gzip, gzip", gzip(&bomb), 413),
        ("zstd", zstd_bomb.clone(), 413),
        ("zstd, gzip", gzip(&zstd_bomb), 413),
        ("zstd", b"{}".to_vec(), 400),
        ("gzip", b"{}".to_vec(), 400),
        ("gzip", bomb[..bomb.len() / 2].to_vec(), 413),
        ("gzip", gzip(&question(json!({})).to_string().into_bytes())[..40].to_vec(), 400),
    ] {
        assert_eq!(post(&cluster, encoding, sent).await.status(), status, "{encoding}");
    }
    cluster.ask(json!({})).await;
}
