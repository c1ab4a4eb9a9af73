//! `secateur health`: asks one program of a cluster whether it would serve, for containers and orchestrators. The exit
//! status is the answer: 0, or 1 with the reason on standard error.

mod https;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use secateur_channel::LinkSecurity;
use secateur_node::link;
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::usage;

/// Most characters of a reason that are printed.
const REASON_MAX: usize = 500;

/// Arguments of `secateur health`.
#[derive(Debug, Args)]
pub struct HealthArguments {
    /// A router's health page; with https://, --tls-ca says whose certificate is trusted
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/health", conflicts_with = "node")]
    url: String,
    /// A prefill or decode node instead, asked over grpc.health.v1
    #[arg(long, value_name = "HOST:PORT")]
    node: Option<String>,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// What protects the connection.
    #[command(flatten)]
    link: LinkSecurity,
}

/// Runs the command.
pub fn run(arguments: HealthArguments) -> ExitCode {
    usage::finish(ask(arguments))
}

#[tokio::main(flavor = "current_thread")]
async fn ask(arguments: HealthArguments) -> anyhow::Result<()> {
    let seconds = arguments.timeout;
    let answer = async {
        match &arguments.node {
            Some(address) => ask_node(address, &arguments.link).await,
            None => ask_router(&arguments.url, &arguments.link).await,
        }
    };
    match timeout(Duration::from_secs(seconds), answer).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {seconds} s"),
    }
}

async fn ask_router(url: &str, security: &LinkSecurity) -> anyhow::Result<()> {
    let (status, body) = if url.starts_with("https://") { https::get(url, security).await? } else { get(url).await? };
    if (200..300).contains(&status) {
        return Ok(());
    }
    let reason: String = body.chars().take(REASON_MAX).collect();
    bail!("the router answers {status}: {reason}")
}

async fn get(url: &str) -> anyhow::Result<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.get(url).send().await.context("the router does not answer")?;
    Ok((answer.status().as_u16(), answer.text().await.unwrap_or_default()))
}

async fn ask_node(address: &str, security: &LinkSecurity) -> anyhow::Result<()> {
    let channels = security.channels().map_err(|error| usage::usage(error.to_string()))?;
    let link = link::open(&channels, address).map_err(|error| usage::usage(error.to_string()))?;
    let answer = HealthClient::new(link).check(HealthCheckRequest { service: String::new() }).await;
    let status = answer.map_err(|_| anyhow::anyhow!("no node answers at {address}"))?.into_inner().status();
    match status {
        ServingStatus::Serving => Ok(()),
        status => bail!("the node says that it is {}", status.as_str_name()),
    }
}
