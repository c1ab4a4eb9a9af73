//! A local cluster of real processes: router, one prefill node, one decode node.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use crate::{proxy::Proxy, role::Role};

const READY_MAX: Duration = Duration::from_secs(60);

/// The running roles.
pub struct Cluster {
    /// The prefill node.
    pub prefill: Role,
    /// The decode node.
    pub decode: Role,
    /// The router.
    pub router: Role,
    client: Client,
}

/// Nodes without a router.
pub struct Nodes {
    program: String,
    model: PathBuf,
    prefill: Role,
    decode: Role,
}

impl Nodes {
    /// Starts a prefill and a decode node on `model`.
    pub fn start(program: &str, model: &Path) -> anyhow::Result<Self> {
        Self::start_with(program, model, &[], &[])
    }

    /// Starts a prefill and a decode node with additional flags for each. Both compute in f32, as the references do.
    pub fn start_with(program: &str, model: &Path, prefill: &[&str], decode: &[&str]) -> anyhow::Result<Self> {
        let dir = model.to_string_lossy();
        let start =
            |role, flags: &[&str]| Role::start(program, &[&[role, "--model", &dir, "--dtype", "f32"], flags].concat());
        let (prefill, decode) = (start("prefill", prefill)?, start("decode", decode)?);
        Ok(Self { program: program.to_owned(), model: model.to_owned(), prefill, decode })
    }

    /// Starts a proxy in front of the decode node, for both router and prefill node.
    pub async fn decode_proxy(&self) -> anyhow::Result<Proxy> {
        Ok(Proxy::start(self.decode.address).await?)
    }

    /// Adds a router that reaches the decode node at `decode`, by default its own address, and waits until it is ready.
    pub async fn route(self, decode: Option<SocketAddr>) -> anyhow::Result<Cluster> {
        self.route_with(decode, &[]).await
    }

    /// Adds a router like [`Nodes::route`], with additional flags.
    pub async fn route_with(self, decode: Option<SocketAddr>, flags: &[&str]) -> anyhow::Result<Cluster> {
        let decode = decode.unwrap_or(self.decode.address).to_string();
        let arguments = [
            "router",
            "--model",
            &self.model.to_string_lossy(),
            "--prefill",
            &self.prefill.address.to_string(),
            "--decode",
            &decode,
        ];
        let router = Role::start(&self.program, &[&arguments[..], flags].concat())?;
        let cluster = Cluster {
            prefill: self.prefill,
            decode: self.decode,
            router,
            client: Client::builder().no_proxy().build()?,
        };
        cluster.ready().await?;
        Ok(cluster)
    }
}

impl Cluster {
    /// Starts all three roles on `model` and waits until they are ready.
    pub async fn start(program: &str, model: &Path) -> anyhow::Result<Self> {
        Nodes::start(program, model)?.route(None).await
    }

    /// Waits until the router reports that it can serve.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < READY_MAX {
            if self.client.get(self.url("/health")).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the cluster was not ready after {} s", READY_MAX.as_secs())
    }

    /// The URL of `path` on the router.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.router.address)
    }

    /// The HTTP client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Posts a chat completion; returns status and body.
    pub async fn chat(&self, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let answer = self.client.post(self.url("/v1/chat/completions")).json(body).send().await?;
        let status = answer.status();
        Ok((status, answer.json().await.context("the body is not JSON")?))
    }

    /// The text of a chat completion that must succeed.
    pub async fn answer(&self, body: &Value) -> anyhow::Result<String> {
        let (status, reply) = self.chat(body).await?;
        anyhow::ensure!(status.is_success(), "{status}: {reply}");
        let content = reply["choices"][0]["message"]["content"].as_str().context("no content")?;
        Ok(content.to_owned())
    }
}
