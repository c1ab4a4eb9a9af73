//! All roles of a local cluster: started, watched, restarted, stopped.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use serde_json::Value;
use tokio::time::sleep;

use super::{child::Child, report};
use crate::progress::Progress;

/// How long loading may take before `up` gives up.
const READY_MAX: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(50);
/// Before a node that died is started again, so that one that dies at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// What to start.
pub struct Plan {
    /// Checkpoint folder.
    pub model: PathBuf,
    /// Prefill nodes.
    pub prefill: u32,
    /// Decode nodes.
    pub decode: u32,
    /// Further flags of every node.
    pub node: Vec<String>,
    /// Further flags of one role alone.
    pub only: Only,
    /// The router's port; 0: a free one.
    pub port: u16,
    /// What the roles log.
    pub log: String,
}

/// Flags of one role alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Of prefill nodes.
    pub prefill: Vec<String>,
    /// Of decode nodes.
    pub decode: Vec<String>,
    /// Of the router.
    pub router: Vec<String>,
}

/// A running local cluster.
pub struct Cluster {
    /// The router is the last one: nodes are there before it.
    children: Vec<Child>,
}

impl Cluster {
    /// Starts every role on a free loopback port, and says so.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        Self::start_behind(plan, async |decode| Ok(decode)).await
    }

    /// The same with something before the decode nodes: `front` is given where they listen, and says where router and
    /// prefill reach them.
    pub async fn start_behind(
        plan: Plan,
        front: impl AsyncFnOnce(Vec<SocketAddr>) -> anyhow::Result<Vec<SocketAddr>>,
    ) -> anyhow::Result<Self> {
        report::progress(&format!("starting 1 router, {} prefill, {} decode", plan.prefill, plan.decode));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut children = Vec::new();
        let model = plan.model.to_string_lossy().into_owned();
        let roles = [("prefill", plan.prefill, &plan.only.prefill), ("decode", plan.decode, &plan.only.decode)];
        for (role, count, only) in roles {
            for index in 0..count {
                let id = format!("{role}-{index}");
                let mut arguments = vec!["--model", &model, "--log", &plan.log, "--node-id", &id];
                arguments.extend(plan.node.iter().chain(only).map(String::as_str));
                children.push(Child::start(command(role, &arguments), free).await?);
            }
        }
        let listed =
            |addresses: Vec<SocketAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let prefill = listed(addresses(&children, "prefill"));
        let decode = listed(front(addresses(&children, "decode")).await?);
        let mut arguments = vec!["--model", &model, "--prefill", &prefill, "--decode", &decode, "--log", &plan.log];
        arguments.extend(plan.only.router.iter().map(String::as_str));
        let listen = SocketAddr::from(([127, 0, 0, 1], plan.port));
        children.push(Child::start(command("router", &arguments), listen).await?);
        Ok(Self { children })
    }

    /// Where the prefill nodes listen.
    pub fn prefill(&self) -> Vec<SocketAddr> {
        addresses(&self.children, "prefill")
    }

    /// The router's URL.
    pub fn base_url(&self) -> String {
        let router = self.children.last().map(|child| child.address().to_string());
        format!("http://{}", router.unwrap_or_default())
    }

    /// Waits until the router says that it can serve; an error if a role ends before that.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let base = self.base_url();
        let url = format!("{base}/health");
        let poll = async {
            let started = Instant::now();
            // A proxy of the environment is for the outside, not for loopback.
            let client = reqwest::Client::builder().no_proxy().build()?;
            let mut shown = Progress::waiting("loading");
            loop {
                let answer = client.get(&url).timeout(Duration::from_secs(2)).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(());
                }
                if started.elapsed() > READY_MAX {
                    anyhow::bail!("the cluster was not ready after {} s", READY_MAX.as_secs());
                }
                shown.set(0, &loaded(&client, &base).await);
                sleep(READY_POLL).await;
            }
        };
        tokio::select! {
            ready = poll => ready,
            (role, how) = first_end(&mut self.children) => {
                anyhow::bail!("the {role} ended while it loaded ({how}); its message is above")
            }
        }
    }

    /// Starts again what dies, until this future is dropped.
    pub async fn supervise(&mut self) {
        join_all(self.children.iter_mut().map(keep_alive)).await;
    }

    /// Stops every role.
    pub async fn stop(&mut self) {
        join_all(self.children.iter_mut().map(Child::stop)).await;
    }
}

/// Who is ready, as the router sees it; empty while it does not answer.
async fn loaded(client: &reqwest::Client, base: &str) -> String {
    let view = async {
        let answer = client.get(format!("{base}/v1/cluster")).timeout(Duration::from_secs(2)).send().await?;
        answer.json::<Value>().await
    };
    let view = view.await.unwrap_or_default();
    let Some(nodes) = view["nodes"].as_array() else { return String::new() };
    let ready = nodes.iter().filter(|node| node["unusable"].is_null()).count();
    format!("{ready} of {} nodes are ready", nodes.len())
}

fn addresses(children: &[Child], role: &str) -> Vec<SocketAddr> {
    children.iter().filter(|child| child.role() == role).map(Child::address).collect()
}

fn command(role: &str, arguments: &[&str]) -> Vec<String> {
    std::iter::once(role).chain(arguments.iter().copied()).map(str::to_owned).collect()
}

async fn first_end(children: &mut [Child]) -> (String, String) {
    let mut ends: FuturesUnordered<_> = children
        .iter_mut()
        .map(|child| async move {
            let how = child.ended().await;
            (child.role().to_owned(), how)
        })
        .collect();
    match ends.next().await {
        Some(end) => end,
        None => std::future::pending().await,
    }
}

async fn keep_alive(child: &mut Child) {
    loop {
        let how = child.ended().await;
        report::progress(&format!("the {} at {} ended ({how}); starting it again", child.role(), child.address()));
        loop {
            sleep(RESTART_PAUSE).await;
            match child.restart().await {
                Ok(()) => break,
                Err(error) => report::progress(&format!("the {} did not start: {error:#}", child.role())),
            }
        }
    }
}
