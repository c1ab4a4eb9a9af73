//! Nodes that die, links that are cut, malformed bodies: errors are clear and prompt, and everything works afterwards.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use secateur_tests::{
    cluster::{Cluster, Nodes},
    suite,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Lock that limits the tests to one cluster at a time: they require a small machine to react within two seconds.
static ONE_CLUSTER: Mutex<()> = Mutex::const_new(());

fn picture_question() -> (Value, String) {
    let card: Value = serde_json::from_slice(&std::fs::read(suite::demo().join("secateur.json")).unwrap()).unwrap();
    let cases = suite::cases().unwrap();
    let greedy = suite::greedy().unwrap();
    assert!(card["sample"].is_object());
    let case = &cases[0];
    (case.body(&suite::exact()).unwrap(), greedy[&case.id].text.clone())
}

async fn refused_within_two_seconds(cluster: &Cluster, body: &Value) {
    let started = Instant::now();
    let (status, reply) = cluster.chat(body).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{reply}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(reply["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_a_503_and_answers_return_with_it() {
    let _alone = ONE_CLUSTER.lock().await;
    let mut cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let (body, expected) = picture_question();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);

    cluster.prefill.kill();
    refused_within_two_seconds(&cluster, &body).await;
    cluster.prefill.restart().unwrap();
    cluster.ready().await.unwrap();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);

    cluster.decode.kill();
    refused_within_two_seconds(&cluster, &body).await;
    cluster.decode.restart().unwrap();
    cluster.ready().await.unwrap();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);
    assert!(cluster.router.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_a_503_and_answers_return_when_it_is_mended() {
    let _alone = ONE_CLUSTER.lock().await;
    let nodes = Nodes::start(PROGRAM, &suite::demo()).unwrap();
    let proxy = nodes.decode_proxy().await.unwrap();
    let cluster = nodes.route(Some(proxy.address)).await.unwrap();
    let (body, expected) = picture_question();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);
    proxy.set_cut(true);
    refused_within_two_seconds(&cluster, &body).await;
    proxy.set_cut(false);
    cluster.ready().await.unwrap();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);
}

/// Thirty bodies that a server must refuse without failing.
fn malformed() -> Vec<(&'static str, String)> {
    let chat = |edit: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "Hello"}]});
        for (key, value) in edit.as_object().unwrap() {
            body[key] = value.clone();
        }
        body.to_string()
    };
    let part = |part: Value| chat(json!({"messages": [{"role": "user", "content": [part]}]}));
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    vec![
        ("nothing", String::new()),
        ("no JSON", "{".into()),
        ("a list", "[]".into()),
        ("null", "null".into()),
        ("no messages", "{}".into()),
        ("messages null", chat(json!({"messages": null}))),
        ("messages empty", chat(json!({"messages": []}))),
        ("messages text", chat(json!({"messages": "Hello"}))),
        ("message without role", chat(json!({"messages": [{"content": "Hello"}]}))),
        ("unknown role", chat(json!({"messages": [{"role": "wizard", "content": "Hello"}]}))),
        ("content a number", chat(json!({"messages": [{"role": "user", "content": 7}]}))),
        ("unknown part", part(json!({"type": "smell"}))),
        ("text part without text", part(json!({"type": "text"}))),
        ("image without url", part(json!({"type": "image_url"}))),
        ("image by http", image("http://127.0.0.1:1/x.png")),
        ("image with broken base64", image("data:image/png;base64,@@@@")),
        ("image that is no picture", image("data:image/png;base64,aGVsbG8=")),
        ("image cut off", image("data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf")),
        ("image empty", image("data:image/png;base64,")),
        ("unknown model", chat(json!({"model": "gpt-7"}))),
        ("max_tokens 0", chat(json!({"max_tokens": 0}))),
        ("max_tokens text", chat(json!({"max_tokens": "many"}))),
        ("max_tokens over the context", chat(json!({"max_tokens": 1_000_000}))),
        ("temperature 3", chat(json!({"temperature": 3}))),
        ("top_p 0", chat(json!({"top_p": 0}))),
        ("stop empty text", chat(json!({"stop": [""]}))),
        ("stream_options without stream", chat(json!({"stream_options": {"include_usage": true}}))),
        ("n 0", chat(json!({"n": 0}))),
        ("unknown visual method", chat(json!({"secateur": {"visual": {"method": "telepathy"}}}))),
        ("keep 0", chat(json!({"secateur": {"visual": {"method": "trimtokenator", "keep": 0}}}))),
        ("a prompt over the context", chat(json!({"messages": [{"role": "user", "content": "word ".repeat(9_000)}]}))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_4xx_with_an_openai_error() {
    let _alone = ONE_CLUSTER.lock().await;
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let bodies = malformed();
    assert!(bodies.len() >= 30);
    for (name, body) in bodies {
        let request = cluster.client().post(cluster.url("/v1/chat/completions"));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status();
        let reply: Value = answer.json().await.unwrap();
        assert!(status.is_client_error(), "{name}: {status} {reply}");
        for field in ["message", "type", "param", "code"] {
            assert!(reply["error"].get(field).is_some(), "{name}: no {field} in {reply}");
        }
    }
    let (body, expected) = picture_question();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);
}
