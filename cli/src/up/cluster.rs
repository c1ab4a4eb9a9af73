//! All roles of a local cluster: start, supervision, restart, stop.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use reqwest::Client;
use serde_json::Value;
use tokio::time::sleep;

use super::child::Child;
pub use super::roles::{Only, Plan};
use crate::{console, key, progress::Progress};

/// Deadline for loading before `up` fails.
const READY_MAX: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(50);
/// Timeout of the router for requests that compute nothing.
const QUESTION_MAX: Duration = Duration::from_secs(2);
/// Pause before a node that died is restarted, so that one that dies at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// A running local cluster.
pub struct Cluster {
    /// Nodes first, the router last: nodes must exist before it.
    children: Vec<Child>,
}

impl Cluster {
    /// Starts every role on a free loopback port, and reports it.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        Self::start_behind(plan, async |decode| Ok(decode)).await
    }

    /// Starts every role, with a proxy before the decode nodes: `front` is given the addresses that they listen on, and
    /// returns those under which router and prefill nodes reach them.
    pub async fn start_behind(
        plan: Plan,
        front: impl AsyncFnOnce(Vec<SocketAddr>) -> anyhow::Result<Vec<SocketAddr>>,
    ) -> anyhow::Result<Self> {
        console::progress(&format!("starting 1 router, {} prefill, {} decode", plan.prefill, plan.decode));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut children = Vec::new();
        for node in plan.nodes() {
            children.push(Child::start(node, free).await?);
        }
        let texts = |addresses: Vec<SocketAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let prefill = texts(addresses(&children, "prefill"));
        let decode = texts(front(addresses(&children, "decode")).await?);
        children.push(Child::start(plan.router(&prefill, &decode), plan.listen()).await?);
        Ok(Self { children })
    }

    /// The addresses that the prefill nodes listen on.
    pub fn prefill(&self) -> Vec<SocketAddr> {
        addresses(&self.children, "prefill")
    }

    /// The router's URL.
    pub fn base_url(&self) -> String {
        let router = self.children.last().map(|child| child.address().to_string());
        format!("http://{}", router.unwrap_or_default())
    }

    /// Waits until the router reports that it can serve; fails if a role ends before that.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let base = self.base_url();
        let url = format!("{base}/health");
        let poll = async {
            let started = Instant::now();
            let client = client()?;
            let mut shown = Progress::waiting("loading");
            loop {
                let answer = client.get(&url).send().await;
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

    /// Restarts roles that die, until this future is dropped.
    pub async fn supervise(&mut self) {
        join_all(self.children.iter_mut().map(keep_alive)).await;
    }

    /// The router's view of itself and its nodes; null while it does not answer.
    pub async fn view(&self) -> Value {
        match client() {
            Ok(client) => view(&client, &self.base_url()).await,
            Err(_) => Value::Null,
        }
    }

    /// Stops every role gracefully: the router finishes its requests while its nodes still compute, and the nodes,
    /// which then have no work left, stop after it.
    pub async fn stop(&mut self) {
        let Some((router, nodes)) = self.children.split_last_mut() else { return };
        router.stop().await;
        join_all(nodes.iter_mut().map(Child::stop)).await;
    }

    /// Ends every role at once.
    pub async fn kill(&mut self) {
        join_all(self.children.iter_mut().map(Child::kill)).await;
    }
}

/// A client for loopback; a proxy from the environment is only for addresses outside.
fn client() -> reqwest::Result<Client> {
    Client::builder().no_proxy().timeout(QUESTION_MAX).build()
}

async fn view(client: &Client, base: &str) -> Value {
    let view = async {
        let mut request = client.get(format!("{base}/v1/cluster"));
        if let Some(key) = key::of_environment() {
            request = request.bearer_auth(key);
        }
        request.send().await?.json::<Value>().await
    };
    view.await.unwrap_or_default()
}

/// The ready nodes, as the router sees them; empty while it does not answer.
async fn loaded(client: &Client, base: &str) -> String {
    let view = view(client, base).await;
    let Some(nodes) = view["nodes"].as_array() else { return String::new() };
    let ready = nodes.iter().filter(|node| node["unusable"].is_null()).count();
    format!("{ready} of {} nodes are ready", nodes.len())
}

fn addresses(children: &[Child], role: &str) -> Vec<SocketAddr> {
    children.iter().filter(|child| child.role() == role).map(Child::address).collect()
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
        console::progress(&format!("the {} at {} ended ({how}); starting it again", child.role(), child.address()));
        loop {
            sleep(RESTART_PAUSE).await;
            match child.restart().await {
                Ok(()) => break,
                Err(error) => console::progress(&format!("the {} did not start: {error:#}", child.role())),
            }
        }
    }
}
