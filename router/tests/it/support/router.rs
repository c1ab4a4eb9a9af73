//! The router under test and a client for it.

use std::{
    ffi::OsString,
    net::SocketAddr,
    time::{Duration, Instant},
};

use reqwest::{Client, Response};
use secateur_common::config;
use secateur_proto::v1::{NodeDescription, Role};
use secateur_router::{RouterSettings, command, listen, serve};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::nodes::FakeNode;

/// A router and its scripted nodes.
pub struct Cluster {
    pub prefill: Vec<FakeNode>,
    pub decode: Vec<FakeNode>,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
    pub client: Client,
}

impl Cluster {
    /// One pair.
    pub async fn one() -> Self {
        Self::start(1, 1, &[]).await
    }

    /// So many nodes, and further flags for the router.
    pub async fn start(prefill: usize, decode: usize, flags: &[&str]) -> Self {
        Self::of(prefill, decode, flags, |_| {}).await
    }

    /// The same, each node described as `edit` leaves it. Returns when the router has a pair.
    pub async fn of(prefill: usize, decode: usize, flags: &[&str], edit: impl Fn(&mut NodeDescription)) -> Self {
        let prefill: Vec<FakeNode> = (0..prefill).map(|i| FakeNode::start(Role::Prefill, &format!("p{i}"))).collect();
        let decode: Vec<FakeNode> = (0..decode).map(|i| FakeNode::start(Role::Decode, &format!("d{i}"))).collect();
        prefill.iter().chain(&decode).for_each(|node| edit(&mut node.script.description.lock().unwrap()));
        Self::serve(prefill, decode, flags, |node| node.address.to_string()).await
    }

    /// One pair whose nodes the router knows under a host name.
    pub async fn by_name(host: &str) -> Self {
        let nodes = |role, name| vec![FakeNode::start(role, name)];
        let (prefill, decode) = (nodes(Role::Prefill, "p0"), nodes(Role::Decode, "d0"));
        Self::serve(prefill, decode, &[], |node| format!("{host}:{}", node.address.port())).await
    }

    async fn serve(
        prefill: Vec<FakeNode>,
        decode: Vec<FakeNode>,
        flags: &[&str],
        address_of: impl Fn(&FakeNode) -> String,
    ) -> Self {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve(settings(&prefill, &decode, flags, address_of), listener, shutdown.clone());
        let served = tokio::spawn(async move { serving.await.unwrap() });
        let cluster = Self { prefill, decode, address, shutdown, served, client: Client::new() };
        // This client speaks no TLS.
        if !flags.contains(&"--http-tls-cert") {
            cluster.until_health(200).await;
        }
        cluster
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub async fn post(&self, body: &Value) -> Response {
        self.post_to("/v1/chat/completions", body).await
    }

    pub async fn post_to(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// Asks with these fields beside the message, and expects an answer.
    pub async fn ask(&self, extra: Value) -> Value {
        let response = self.post(&question(extra)).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Asks for a stream and returns its events.
    pub async fn stream(&self, extra: Value) -> Vec<Value> {
        let mut body = question(extra);
        body["stream"] = true.into();
        let response = self.post(&body).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        assert!(text.ends_with("\n\n"), "{text}");
        text.split_terminator("\n\n").map(event).collect()
    }

    /// Waits until every node is up: the router serves as soon as one pair is.
    pub async fn until_all_up(&self) {
        until("all nodes are up", async || {
            let view: Value = self.get("/v1/cluster").await.json().await.unwrap();
            view["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up")
        })
        .await;
    }

    /// Waits for `/health` to answer so.
    pub async fn until_health(&self, status: u16) {
        until(&format!("health is {status}"), async || {
            self.client.get(self.url("/health")).send().await.is_ok_and(|response| response.status() == status)
        })
        .await;
    }
}

/// Polls until `holds`, for ten seconds.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A chat body with one user message and further fields.
pub fn question(extra: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The text of a stream's deltas.
pub fn joined(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

fn event(text: &str) -> Value {
    let data = text.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {text:?}"));
    if data == "[DONE]" { Value::from(data) } else { serde_json::from_str(data).unwrap() }
}

fn settings(
    prefill: &[FakeNode],
    decode: &[FakeNode],
    flags: &[&str],
    address_of: impl Fn(&FakeNode) -> String,
) -> RouterSettings {
    let addresses = |nodes: &[FakeNode]| nodes.iter().map(&address_of).collect::<Vec<_>>().join(",");
    let mut arguments: Vec<OsString> = ["router", "--served-model-name", "tiny"].map(OsString::from).to_vec();
    if !flags.contains(&"--model") {
        arguments.extend(["--model".into(), super::model_folder().into()]);
    }
    for (flag, value) in [("--prefill", addresses(prefill)), ("--decode", addresses(decode))] {
        arguments.extend([OsString::from(flag), OsString::from(value)]);
    }
    arguments.extend(flags.iter().map(OsString::from));
    config::parse::<RouterSettings>(command(), arguments).unwrap().settings
}
