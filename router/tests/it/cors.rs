//! Scripts of web pages: the headers by which a browser lets them call the router.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

use crate::support::router::{Cluster, question};

const APP: &str = "https://app.example";
const CHAT: &str = "/v1/chat/completions";
/// What OpenAI's client for browsers sends.
const SENT: &str = "authorization,content-type,x-api-key,x-request-id,traceparent,anthropic-version,x-stainless-lang";

fn of<'a>(response: &'a Response, header: &str) -> Option<&'a str> {
    response.headers().get(header).map(|value| value.to_str().unwrap())
}

fn request(cluster: &Cluster, method: Method, origin: &str) -> RequestBuilder {
    cluster.client.request(method, cluster.url(CHAT)).header("origin", origin)
}

async fn preflight(cluster: &Cluster, origin: &str) -> Response {
    let request = request(cluster, Method::OPTIONS, origin).header("access-control-request-method", "POST");
    request.header("access-control-request-headers", SENT).send().await.unwrap()
}

async fn post(cluster: &Cluster, origin: &str, key: &str) -> Response {
    request(cluster, Method::POST, origin).bearer_auth(key).json(&question(json!({}))).send().await.unwrap()
}

#[tokio::test]
async fn without_the_setting_browsers_are_told_nothing() {
    let cluster = Cluster::one().await;
    let asked = preflight(&cluster, APP).await;
    assert_eq!(asked.status(), 405);
    let answered = post(&cluster, APP, "any").await;
    assert_eq!(answered.status(), 200);
    for response in [asked, answered] {
        let names = response.headers().keys().map(|name| name.as_str());
        assert_eq!(names.filter(|name| name.starts_with("access-control-")).count(), 0);
    }
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_names_what_may_be_sent() {
    let cluster =
        Cluster::start(1, 1, &["--cors-origin", "http://localhost:3000,https://App.example", "--api-key", "k"]);
    let cluster = cluster.await;
    let asked = preflight(&cluster, APP).await;
    assert_eq!(asked.status(), 200);
    assert_eq!(of(&asked, "access-control-allow-origin"), Some(APP));
    assert_eq!(of(&asked, "access-control-allow-headers"), Some(SENT));
    assert!(of(&asked, "access-control-allow-methods").unwrap().contains("POST"));
    assert!(of(&asked, "vary").unwrap().contains("origin"));
    let elsewhere = preflight(&cluster, "https://elsewhere.example").await;
    assert_eq!(of(&elsewhere, "access-control-allow-origin"), None);
}

#[tokio::test]
async fn scripts_read_answers_and_refusals() {
    let cluster = Cluster::start(1, 1, &["--cors-origin", APP, "--api-key", "k"]).await;
    for (key, status) in [("k", 200), ("wrong", 401)] {
        let answered = post(&cluster, APP, key).await;
        assert_eq!(answered.status(), status);
        assert_eq!(of(&answered, "access-control-allow-origin"), Some(APP));
        let exposed = of(&answered, "access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{exposed}");
        assert!(of(&answered, "x-request-id").is_some());
        assert_eq!(of(&answered, "access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn any_origin_may_be_allowed() {
    let cluster = Cluster::start(1, 1, &["--cors-origin", "*"]).await;
    assert_eq!(of(&preflight(&cluster, APP).await, "access-control-allow-origin"), Some("*"));
    assert_eq!(of(&post(&cluster, APP, "any").await, "access-control-allow-origin"), Some("*"));
}
