//! Requests to one server, sent as any OpenAI client would send them.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// Timeout for queries about the server, which take no computation.
const QUESTION_MAX: Duration = Duration::from_secs(30);

/// Sends requests to one server. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    timeout: Duration,
}

impl Client {
    /// A client of the server at `url` with that API key, for answers that take no longer than `timeout`.
    pub fn new(url: &str, key: Option<String>, timeout: Duration) -> anyhow::Result<Client> {
        // A proxy from the environment would be measured too.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(usize::MAX).build()?;
        Ok(Client { http, url: url.to_owned(), key, timeout })
    }

    /// The name of the server's model.
    pub async fn model(&self) -> anyhow::Result<String> {
        let request = self.with_key(self.http.get(format!("{}/v1/models", self.url))).timeout(QUESTION_MAX);
        let answer = request.send().await.context("no answer (is a router running there?)")?;
        let status = answer.status();
        if !status.is_success() {
            bail!("/v1/models answered {status}; SECATEUR_API_KEY must be set where the router asks for a key");
        }
        let models: Value = answer.json().await.context("/v1/models is not an OpenAI server's")?;
        let name = models["data"][0]["id"].as_str().context("the server has no model")?;
        Ok(name.to_owned())
    }

    /// Number of tokens of a conversation with only this text; `None` if the server does not report it.
    pub async fn count_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let body = json!({"model": model, "messages": [{"role": "user", "content": text}]});
        let request = self.with_key(self.http.post(format!("{}/tokenize", self.url)).json(&body));
        let answer = request.timeout(QUESTION_MAX).send().await.ok()?.error_for_status().ok()?;
        answer.json::<Value>().await.ok()?["count"].as_u64()
    }

    /// Sends a conversation; fails only if no answer begins, whatever its status.
    pub async fn chat(&self, body: Vec<u8>) -> reqwest::Result<Response> {
        let request = self.with_key(self.http.post(format!("{}/v1/chat/completions", self.url)));
        request.header("content-type", "application/json").timeout(self.timeout).body(body).send().await
    }

    /// Sends a conversation and returns status and text, also for error statuses; fails only if no answer arrives.
    pub async fn exchange(&self, body: Vec<u8>) -> anyhow::Result<(StatusCode, String)> {
        let response = self.chat(body).await?;
        Ok((response.status(), response.text().await?))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}
