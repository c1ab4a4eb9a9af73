//! Keys of a file: their limits, their metrics, and how the file is exchanged while the router serves.

use std::path::PathBuf;

use reqwest::{RequestBuilder, Response};
use secateur_router::keys::KeyDigest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    answer_tokens,
    nodes::Act,
    router::{Cluster, question, until},
};

const CHAT: &str = "/v1/chat/completions";

/// A file of keys, by name, key and further lines.
struct KeysFile {
    _folder: TempDir,
    path: PathBuf,
}

impl KeysFile {
    fn of(keys: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let file = Self { _folder: folder, path };
        file.write(keys);
        file
    }

    /// Writes it anew in one step, as an operator should.
    fn write(&self, keys: &[(&str, &str, &str)]) {
        let stanza = |(name, key, more): &(&str, &str, &str)| {
            format!("[[key]]\nname = \"{name}\"\nsha256 = \"{}\"\n{more}\n", KeyDigest::of(key).to_hex())
        };
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, keys.iter().map(stanza).collect::<String>()).unwrap();
        std::fs::rename(beside, &self.path).unwrap();
    }
}

async fn start(file: &KeysFile, flags: &[&str]) -> Cluster {
    let path = file.path.to_str().unwrap();
    Cluster::start(1, 1, &[&["--api-keys-file", path], flags].concat()).await
}

fn ask(cluster: &Cluster, key: &str, extra: Value) -> RequestBuilder {
    cluster.client.post(cluster.url(CHAT)).bearer_auth(key).json(&question(extra))
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

async fn error_of(response: Response) -> Value {
    response.json::<Value>().await.unwrap()["error"].clone()
}

/// The value of the line of `/metrics` with this name and these labels.
async fn metric(cluster: &Cluster, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let has = |line: &str| {
        line.starts_with(&format!("{name}{{"))
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    };
    page.lines().find(|line| has(line)).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn each_key_has_limits_of_its_own() {
    let file = KeysFile::of(&[("few", "key-few", "requests_per_minute = 2"), ("free", "key-free", "")]);
    let cluster = start(&file, &[]).await;
    let first = ask(&cluster, "key-few", json!({})).send().await.unwrap();
    assert_eq!(first.status(), 200);
    assert_eq!(header(&first, "x-ratelimit-limit-requests").as_deref(), Some("2"));
    assert_eq!(header(&first, "x-ratelimit-remaining-requests").as_deref(), Some("1"));
    assert!(header(&first, "x-ratelimit-reset-requests").is_some());
    assert_eq!(header(&first, "x-ratelimit-limit-tokens"), None);
    let models = cluster.client.get(cluster.url("/v1/models")).header("x-api-key", "key-few").send().await.unwrap();
    assert_eq!(models.status(), 200, "either header carries a key");

    let refused = ask(&cluster, "key-few", json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait} s until one of two a minute");
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests").as_deref(), Some("0"));
    let error = error_of(refused).await;
    assert_eq!((&error["code"], &error["type"]), (&json!("rate_limit_exceeded"), &json!("rate_limit_error")));
    let tokenize = cluster.client.post(cluster.url("/tokenize")).bearer_auth("key-few").json(&json!({"prompt": "a"}));
    assert_eq!(status(tokenize).await, 429, "all requests of a key count");
    let look = cluster.client.get(cluster.url("/v1/cluster")).bearer_auth("key-few");
    assert_eq!(status(look).await, 200, "a look at the cluster does not");

    for _ in 0..5 {
        let response = ask(&cluster, "key-free", json!({})).send().await.unwrap();
        assert_eq!((response.status().as_u16(), header(&response, "x-ratelimit-limit-requests")), (200, None));
    }
    assert_eq!(
        metric(&cluster, "secateur_key_refused_total", &[("key", "few"), ("reason", "requests")]).await,
        Some(2.0)
    );
    assert_eq!(
        metric(&cluster, "secateur_key_refused_total", &[("key", "free"), ("reason", "requests")]).await,
        Some(0.0)
    );
}

#[tokio::test]
async fn tokens_are_counted_and_a_debt_is_waited_for() {
    let file = KeysFile::of(&[("a", "key-a", "tokens_per_minute = 30")]);
    let cluster = start(&file, &[]).await;
    let first = ask(&cluster, "key-a", json!({})).send().await.unwrap();
    assert_eq!(header(&first, "x-ratelimit-limit-tokens").as_deref(), Some("30"));
    let usage = first.json::<Value>().await.unwrap()["usage"].clone();
    let (prompt, answer) = (usage["prompt_tokens"].as_f64().unwrap(), usage["completion_tokens"].as_f64().unwrap());
    for (kind, tokens) in [("prompt", prompt), ("completion", answer)] {
        let counted = metric(&cluster, "secateur_key_tokens_total", &[("key", "a"), ("kind", kind)]).await;
        assert_eq!(counted, Some(tokens), "{kind}");
    }
    let long = json!({"messages": [{"role": "user", "content": "x".repeat(200)}]});
    let mut last = ask(&cluster, "key-a", long.clone()).send().await.unwrap();
    if last.status() == 200 {
        last = ask(&cluster, "key-a", long).send().await.unwrap();
    }
    assert_eq!(last.status(), 429);
    assert!(header(&last, "retry-after").unwrap().parse::<u64>().unwrap() > 1, "{:?}", last.headers());
    assert_eq!(header(&last, "x-ratelimit-remaining-tokens").as_deref(), Some("0"));
    assert!(error_of(last).await["message"].as_str().unwrap().contains("30 tokens a minute"));
    let models = cluster.client.get(cluster.url("/v1/models")).bearer_auth("key-a");
    assert_eq!(status(models).await, 200, "only answers cost tokens");
}

#[tokio::test]
async fn answers_at_once_are_bounded_by_key() {
    let file = KeysFile::of(&[("two", "key-two", "concurrency = 2"), ("other", "key-other", "")]);
    let cluster = start(&file, &[]).await;
    let never = ask(&cluster, "key-two", json!({"n": 3})).send().await.unwrap();
    assert_eq!(never.status(), 400);
    assert_eq!(error_of(never).await["param"], "n");
    cluster.decode[0].script.then([Act::Hang]);
    let running = tokio::spawn(ask(&cluster, "key-two", json!({})).send());
    let is_running =
        async |count: f64| metric(&cluster, "secateur_key_running", &[("key", "two")]).await == Some(count);
    until("one runs", async || is_running(1.0).await).await;
    let refused = ask(&cluster, "key-two", json!({"n": 2})).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), header(&refused, "retry-after").is_some()), (429, true));
    assert_eq!(error_of(refused).await["code"], "rate_limit_exceeded");
    assert_eq!(status(ask(&cluster, "key-two", json!({}))).await, 200, "there is room for one");
    assert_eq!(status(ask(&cluster, "key-other", json!({"n": 3}))).await, 200);
    running.abort();
    until("its place is free", async || is_running(0.0).await).await;
    assert_eq!(status(ask(&cluster, "key-two", json!({"n": 2}))).await, 200);
    for (outcome, count) in [("ok", 2.0), ("abort", 1.0), ("client_error", 2.0), ("server_error", 0.0)] {
        let labels = [("key", "two"), ("outcome", outcome)];
        assert_eq!(metric(&cluster, "secateur_key_requests_total", &labels).await, Some(count), "{outcome}");
    }
}

#[tokio::test]
async fn the_file_is_exchanged_while_a_stream_runs() {
    let file = KeysFile::of(&[("old", "key-old", "")]);
    let cluster = start(&file, &[]).await;
    let text = "hello world, hello world, hello world";
    cluster.prefill[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.then([Act::Slow(500)]);
    let mut stream = ask(&cluster, "key-old", json!({"stream": true})).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut received = stream.chunk().await.unwrap().unwrap().to_vec();
    assert_eq!(status(ask(&cluster, "key-new", json!({}))).await, 401);

    file.write(&[("new", "key-new", "")]);
    until("the new key is known", async || status(ask(&cluster, "key-new", json!({}))).await == 200).await;
    assert_eq!(status(ask(&cluster, "key-old", json!({}))).await, 401, "the old one is gone");
    assert_eq!(metric(&cluster, "secateur_key_running", &[("key", "old")]).await, None);
    while let Some(chunk) = stream.chunk().await.unwrap() {
        received.extend_from_slice(&chunk);
    }
    let received = String::from_utf8(received).unwrap();
    assert!(received.ends_with("data: [DONE]\n\n"), "what ran goes on: {received}");

    std::fs::write(&file.path, "[[key]]\nname = \"broken\"\n").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(status(ask(&cluster, "key-new", json!({}))).await, 200, "a broken file changes nothing");
}

#[tokio::test]
async fn keys_are_nowhere_to_be_read() {
    let file = KeysFile::of(&[
        ("known", "key-of-the-file", "requests_per_minute = 1"),
        ("late", "key-that-expired", "expires = \"2020-01-01T00:00:00Z\""),
    ]);
    let cluster = start(&file, &["--api-key", "key-of-the-flag"]).await;
    assert_eq!(status(ask(&cluster, "key-of-the-flag", json!({}))).await, 200, "both kinds open together");
    let mut shown = Vec::new();
    for (key, expected) in
        [("key-of-the-file", 200), ("key-of-the-file", 429), ("key-that-expired", 401), ("key-that-is-wrong", 401)]
    {
        let response = ask(&cluster, key, json!({})).send().await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{key}");
        shown.push(format!("{:?}", response.headers()));
        shown.push(response.text().await.unwrap());
    }
    assert!(shown[5].contains("expired"), "{}", shown[5]);
    let view = cluster.client.get(cluster.url("/v1/cluster")).bearer_auth("key-of-the-flag").send().await.unwrap();
    shown.push(view.text().await.unwrap());
    let page = cluster.get("/metrics").await.text().await.unwrap();
    assert!(page.contains("key=\"known\"") && page.contains("key=\"late\""), "names are there");
    shown.push(page);
    for text in shown {
        for key in ["key-of-the-file", "key-that-expired", "key-of-the-flag", "key-that-is-wrong"] {
            assert!(!text.contains(key) && !text.contains(&KeyDigest::of(key).to_hex()), "{key}: {text}");
        }
    }
    let expired = [("key", "late"), ("reason", "expired")];
    assert_eq!(metric(&cluster, "secateur_key_refused_total", &expired).await, Some(1.0));
}
