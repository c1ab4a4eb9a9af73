//! HTTP/2 in clear text: many requests on one connection, within the bounds that connections have.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use crate::support::{
    answer_tokens,
    http2::{Http2, read, whole},
    nodes::Act,
    router::{Cluster, question, until},
};

const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn requests_share_a_connection() {
    let cluster = Cluster::one().await;
    let client = Http2::connect(cluster.address).await;
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(client.streams_max(), 128);
    let mut answers = Vec::new();
    for _ in 0..50 {
        answers.push(client.post(CHAT, &question(json!({}))).await);
    }
    for answer in answers {
        let reply = whole(answer).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.headers.contains_key("x-request-id") && reply.headers.contains_key("content-length"));
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "hello world");
    }
    let stream = whole(client.post(CHAT, &question(json!({"stream": true}))).await).await.unwrap();
    assert_eq!(stream.status, 200);
    assert!(stream.text.ends_with("data: [DONE]\n\n"), "{}", stream.text);
    // Many pieces: a page of some size.
    let page: Value = client.get("/openapi.json").await.json();
    assert_eq!(page["info"]["title"], "Secateur");
    assert_eq!(client.send(Method::HEAD, "/live", ("", ""), Vec::new()).await.await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_address_has_no_more_requests_than_it_may_have_connections() {
    let cluster = Cluster::start(1, 1, &["--max-connections", "12"]).await;
    cluster.prefill[0].script.set(Act::Hang);
    let (client, other) = (Http2::connect(cluster.address).await, Http2::connect(cluster.address).await);
    let mut hanging = Vec::new();
    for index in 0..6 {
        let client = if index % 2 == 0 { &client } else { &other };
        hanging.push(client.post(CHAT, &question(json!({}))).await);
    }
    until("all hang", async || cluster.prefill[0].script.calls() == 6).await;
    let refused = whole(client.post(CHAT, &question(json!({}))).await).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("overloaded")));
    assert!(refused.headers.contains_key("retry-after") && refused.headers.contains_key("x-request-id"));
    // Connections that say nothing do not take the place of one that serves.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(cluster.address).await.unwrap());
    }
    assert_eq!(other.get("/live").await.status, 429);
    // A request that its client takes back makes room, and its legs end.
    drop(hanging.pop());
    until("there is room for another", async || client.get("/live").await.status == 200).await;
    until("its legs have ended", async || cluster.prefill[0].script.active() == 5).await;
    drop(hanging);
    until("all legs have ended", async || cluster.prefill[0].script.active() == 0).await;
}

#[tokio::test]
async fn a_refusal_arrives_and_the_connection_stays() {
    let cluster = Cluster::start(1, 1, &["--api-key", "k"]).await;
    let client = Http2::connect(cluster.address).await;
    for _ in 0..3 {
        let refused = whole(client.send(Method::POST, CHAT, ("authorization", "Bearer x"), vec![b' '; 8 << 20]).await);
        let refused = refused.await.unwrap();
        assert_eq!(refused.status, 401, "{}", refused.text);
        assert_eq!(refused.json()["error"]["code"], "invalid_api_key");
        assert_eq!(client.get("/live").await.status, 200);
    }
    let large = "x".repeat(70_000);
    let refused = whole(client.send(Method::GET, "/live", ("x-large", &large), Vec::new()).await).await.unwrap();
    assert_eq!(refused.status, 431);
    assert_eq!(client.get("/live").await.status, 200);
}

#[tokio::test]
async fn a_router_that_stops_lets_streams_end_and_says_goodbye() {
    let cluster = Cluster::one().await;
    let tokens = answer_tokens("hello world, hello 你好, is the world there?");
    cluster.prefill[0].script.answer(tokens.clone());
    cluster.decode[0].script.answer(tokens);
    cluster.decode[0].script.set(Act::Slow(100));
    let client = Http2::connect(cluster.address).await;
    let answer = client.post(CHAT, &question(json!({"stream": true}))).await.await.unwrap();
    assert_eq!(answer.status(), 200);
    cluster.shutdown.cancel();
    cluster.until_health(503).await;
    assert_eq!(client.get("/health").await.status, 503);
    let stream = read(answer).await.unwrap();
    assert!(stream.text.ends_with("data: [DONE]\n\n"), "{}", stream.text);
    timeout(PATIENCE, client.connection).await.unwrap().unwrap().unwrap();
    timeout(PATIENCE, cluster.served).await.unwrap().unwrap();
}
