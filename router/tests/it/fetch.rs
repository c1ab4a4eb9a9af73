//! Pictures by URL: fetched where the operator allows it, and refused with a 400 that names the field everywhere else.

use std::time::Duration;

use futures::future;
use secateur_proto::v1::{VisualMethod, VisualPolicy};
use serde_json::{Value, json};

use crate::support::{
    PNG as DATA_URI,
    router::{Cluster, question, until},
    web::{self, BIG, PNG, Web},
};

const URL_PARAM: &str = "messages[0].content[0].image_url.url";

/// A router that fetches from `web`, one second for a picture.
async fn cluster(web: &Web, flags: &[&str]) -> Cluster {
    patient_cluster(web, "1", flags).await
}

async fn patient_cluster(web: &Web, seconds: &str, flags: &[&str]) -> Cluster {
    let hosts = web::hosts(web).join(",");
    let flags = [&["--image-url-host", &hosts, "--image-url-timeout", seconds], flags].concat();
    Cluster::start(1, 1, &flags).await
}

/// A message with pictures, each an `image_url` object.
fn pictures(pictures: &[Value]) -> Value {
    let part = |picture: &Value| json!({"type": "image_url", "image_url": picture});
    let content: Vec<Value> = pictures.iter().map(part).collect();
    json!({"messages": [{"role": "user", "content": content}]})
}

fn by_url(url: &str) -> Value {
    pictures(&[json!({"url": url})])
}

async fn refused(cluster: &Cluster, fields: Value) -> Value {
    let response = cluster.post(&question(fields)).await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 400, "{body}");
    body["error"].clone()
}

/// The pictures that prefill got last.
fn images(cluster: &Cluster) -> Vec<Vec<u8>> {
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    request.images.into_iter().map(Into::into).collect()
}

#[tokio::test]
async fn hostile_urls_and_servers_get_a_400_that_names_the_field_and_nothing_hangs() {
    let web = Web::start().await;
    let cluster = cluster(&web, &[]).await;
    let cases = web::cases(&web);
    assert!(cases.len() >= 25);
    let all = future::join_all(cases.iter().map(|case| refused(&cluster, by_url(&case.url))));
    let errors = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    for (case, error) in cases.iter().zip(errors) {
        let url: String = case.url.chars().take(100).collect();
        assert_eq!((&error["code"], &error["param"]), (&json!("invalid_image"), &json!(URL_PARAM)), "{url}");
        let message = error["message"].as_str().unwrap();
        assert!(case.says.iter().any(|says| message.contains(says)), "{url}: {message}");
        for inside in ["127.0.0.1", "localhost", "::1", "refused", "reset", "dns"] {
            assert!(!message.contains(inside), "{url}: {message}");
        }
    }
    assert_eq!(web.hits("/picture.png"), 0);
    assert_eq!(cluster.prefill[0].script.calls() + cluster.decode[0].script.calls(), 0);
    until("no connection is left", async || web.open() == 0).await;
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    assert_eq!(view["requests"], json!({"running": 0, "waiting": 0}));
    cluster.ask(json!({})).await;
}

#[tokio::test]
async fn nothing_is_fetched_unless_the_operator_says_so() {
    let (web, cluster) = (Web::start().await, Cluster::one().await);
    let error = refused(&cluster, by_url(&web.url("/picture.png"))).await;
    assert_eq!((&error["code"], &error["param"]), (&json!("invalid_image"), &json!(URL_PARAM)));
    assert!(error["message"].as_str().unwrap().contains("data URIs"), "{error}");
    assert_eq!(web.heads().len(), 0);
    let unset = Cluster::start(1, 1, &["--image-url-host", ""]).await;
    refused(&unset, by_url(&web.url("/picture.png"))).await;
    assert_eq!(web.heads().len(), 0);
}

#[tokio::test]
async fn prefill_gets_the_bytes_in_order_and_each_url_is_fetched_once() {
    let web = Web::start().await;
    let cluster = cluster(&web, &[]).await;
    let (one, other) = (json!({"url": web.url("/picture.png")}), json!({"url": web.url("/other.png")}));
    let sent = pictures(&[one.clone(), json!({"url": DATA_URI}), other, one]);
    let reply = cluster.ask(sent.clone()).await;
    assert_eq!(reply["secateur"]["visual"]["images"], 4);
    let got = images(&cluster);
    assert_eq!((got[0].as_slice(), got[1].len(), got[3].as_slice()), (PNG, 8, PNG));
    assert!(got[2].ends_with(b"and another"));
    cluster.ask(sent).await;
    cluster.ask(pictures(&[json!(web.url("/picture.png"))])).await;
    assert_eq!((web.hits("/picture.png"), web.hits("/other.png")), (1, 1), "later turns find them here");
}

#[tokio::test]
async fn a_cache_of_no_bytes_fetches_at_each_turn() {
    let web = Web::start().await;
    let cluster = cluster(&web, &["--image-url-cache-bytes", "0"]).await;
    for _ in 0..2 {
        cluster.ask(by_url(&web.url("/picture.png"))).await;
    }
    assert_eq!(web.hits("/picture.png"), 2);
}

#[tokio::test]
async fn requests_at_the_same_time_share_a_download() {
    let web = Web::start().await;
    let cluster = patient_cluster(&web, "60", &[]).await;
    let body = question(by_url(&web.url("/gate")));
    let asked = future::join_all((0..5).map(|_| cluster.post(&body)));
    let opened = async {
        until("all wait for the picture", async || {
            let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
            web.hits("/gate") > 0 && view["requests"]["waiting"] == 5
        })
        .await;
        web.open_gate();
    };
    let (answers, ()) = future::join(asked, opened).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(web.hits("/gate"), 1);
}

#[tokio::test]
async fn a_request_that_is_wrong_elsewhere_fetches_nothing() {
    let web = Web::start().await;
    let cluster = cluster(&web, &["--max-images", "1"]).await;
    let url = web.url("/picture.png");
    let mut hot = by_url(&url);
    hot["temperature"] = json!(3);
    assert_eq!(refused(&cluster, hot).await["param"], "temperature");
    let many = pictures(&[json!({"url": url}), json!({"url": url})]);
    assert_eq!(refused(&cluster, many).await["param"], "messages[0].content[1].image_url");
    assert_eq!(web.heads().len(), 0);
}

#[tokio::test]
async fn fetched_bytes_count_against_what_requests_may_hold() {
    let web = Web::start().await;
    let held = (BIG * 2).to_string();
    let cluster = cluster(&web, &["--max-held-bytes", &held]).await;
    let response = cluster.post(&question(by_url(&web.url("/big.png")))).await;
    assert_eq!(response.status(), 413);
    let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
    assert_eq!(view["requests"], json!({"running": 0, "waiting": 0}));
    cluster.ask(by_url(&web.url("/picture.png"))).await;
}

#[tokio::test]
async fn tokenize_counts_a_url_as_a_picture_and_fetches_nothing() {
    let web = Web::start().await;
    let cluster = cluster(&web, &[]).await;
    let tokens = async |url: &str| {
        let body = question(by_url(url));
        let response = cluster.client.post(cluster.url("/tokenize")).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, by_url) = tokens(&web.url("/picture.png")).await;
    assert_eq!((status, &by_url), (200, &tokens(DATA_URI).await.1));
    let (status, refused) = tokens("http://127.0.0.1:22/").await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!(URL_PARAM)));
    assert_eq!(web.heads().len(), 0);
    let off = Cluster::one().await;
    let body = question(self::by_url(&web.url("/picture.png")));
    assert_eq!(off.client.post(off.url("/tokenize")).json(&body).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn low_detail_keeps_fewer_visual_tokens_unless_the_request_says_how_many() {
    let recommended = VisualPolicy { method: VisualMethod::Trimtokenator as i32, keep: 0.875 };
    let cluster = Cluster::of(1, 1, &[], |node| node.recommended_visual = Some(recommended)).await;
    let kept = async |details: &[Value], secateur: Value| {
        let sent: Vec<Value> = details.iter().map(|detail| json!({"url": DATA_URI, "detail": detail})).collect();
        let mut fields = pictures(&sent);
        fields["secateur"] = secateur;
        cluster.ask(fields).await;
        cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().visual.unwrap()
    };
    let low = kept(&[json!("low")], Value::Null).await;
    assert_eq!((low.method, low.keep), (VisualMethod::Trimtokenator as i32, 0.25));
    for detail in ["auto", "high"] {
        assert_eq!(kept(&[json!(detail)], Value::Null).await.keep, 0.875);
    }
    assert_eq!(kept(&[Value::Null], Value::Null).await.keep, 0.875);
    assert_eq!(kept(&[json!("low")], json!({"visual": {"keep": 0.5}})).await.keep, 0.5);
    let several = kept(&[json!("low"), json!("low")], Value::Null).await;
    assert_eq!((several.method, several.keep), (VisualMethod::Coverage as i32, 0.25), "no card for several");
    assert_eq!(kept(&[json!("low"), json!("high")], Value::Null).await.keep, 1.0);
    let error = refused(&cluster, pictures(&[json!({"url": DATA_URI, "detail": "medium"})])).await;
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("invalid_request"), &json!("messages[0].content[0].image_url.detail"))
    );
}
