//! What clients and operators are told when a node cannot be used: what is known of it, and no guess.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::Code;

use crate::support::{
    nodes::Act,
    router::{Cluster, question, until},
};

async fn reason(cluster: &Cluster, role: &str) -> String {
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    let node = view["nodes"].as_array().unwrap().iter().find(|node| node["role"] == role).unwrap();
    node["unusable"].as_str().unwrap_or_default().to_owned()
}

/// None of the library's own failures says anything of the request.
#[tokio::test]
async fn whatever_the_transport_fails_with_is_tried_elsewhere() {
    for code in [Code::ResourceExhausted, Code::OutOfRange, Code::Internal, Code::Cancelled, Code::PermissionDenied] {
        let cluster = Cluster::start(2, 2, &[]).await;
        cluster.prefill[0].script.set(Act::Bare(code));
        cluster.decode[0].script.set(Act::Bare(code));
        for _ in 0..4 {
            let reply = cluster.ask(json!({})).await;
            assert_eq!(
                (&reply["secateur"]["prefill_node"], &reply["secateur"]["decode_node"]),
                (&json!("p1"), &json!("d1"))
            );
        }
        cluster.decode[1].script.set(Act::Bare(code));
        let response = cluster.post(&question(json!({}))).await;
        assert_eq!(response.status(), 503, "{code:?}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["message"], "the connection to the decode node was lost", "{code:?}");
    }
}

#[tokio::test]
async fn a_frozen_node_does_not_answer_and_a_dead_one_cannot_be_reached() {
    let mut cluster = Cluster::one().await;
    cluster.decode[0].freeze();
    cluster.until_health(503).await;
    // Its connection is given up meanwhile, and made again.
    for _ in 0..80 {
        assert_eq!(reason(&cluster, "decode").await, "does not answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let body: Value = cluster.post(&question(json!({}))).await.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("no decode node is ready (does not answer)"), "{message}");
    cluster.decode[0].kill();
    until("it cannot be reached", async || reason(&cluster, "decode").await == "cannot be reached").await;
}

/// Something else listens where the decode node was, and answers whatever it hears with `answer`.
async fn impostor(answer: &'static [u8]) -> (Cluster, tokio::task::JoinHandle<()>) {
    let mut cluster = Cluster::one().await;
    cluster.decode[0].kill();
    cluster.until_health(503).await;
    let address = cluster.decode[0].address;
    let listening = tokio::spawn(async move {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1_024];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    (cluster, listening)
}

#[tokio::test]
async fn tls_is_spoken_of_where_it_answers() {
    for (answer, word) in [
        (b"\x15\x03\x03\0\x02\x02\x32".as_slice(), "wants TLS, and this router was told to use none"),
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "speaks another protocol than gRPC"),
        (b"", "closes the connection at once"),
    ] {
        let (cluster, listening) = impostor(answer).await;
        until(word, async || reason(&cluster, "decode").await == word).await;
        listening.abort();
    }
}
