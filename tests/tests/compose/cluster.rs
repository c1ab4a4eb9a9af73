//! A cluster of containers: started with docker compose, queried over HTTP, and always taken down at the end.

use std::{
    env,
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use reqwest::Client;
use secateur_tests::repository;
use serde_json::Value;
use tokio::time::sleep;

/// Timeout of a client: an answer that takes longer counts as a hang.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Deadline for starting containers, which takes a while on a busy machine.
const UP_MAX: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(25);

/// Containers of one project name, which is unique on the machine.
pub struct Cluster {
    project: String,
    compose: Vec<String>,
    router: String,
    prometheus: String,
    pub client: Client,
}

impl Cluster {
    /// Starts the cluster in the background and returns at once.
    pub fn start() -> anyhow::Result<Self> {
        let address = || -> anyhow::Result<String> {
            Ok(format!("127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
        };
        let compose = match run(Command::new("docker").args(["compose", "version"])) {
            Ok(_) => vec!["docker".to_owned(), "compose".to_owned()],
            Err(_) => vec!["docker-compose".to_owned()],
        };
        let cluster = Self {
            project: format!("secateur-test-{}", std::process::id()),
            compose,
            router: address()?,
            prometheus: address()?,
            client: Client::builder().no_proxy().timeout(PATIENCE).build()?,
        };
        // All services of the file except those without an image here: a machine without a registry may lack Grafana's.
        let services = run(&mut cluster.command(&["config", "--services"]))?;
        let images = run(&mut cluster.command(&["config"]))?;
        let has_grafana = images
            .lines()
            .filter_map(|line| line.trim().strip_prefix("image: grafana/"))
            .all(|tag| run(Command::new("docker").args(["image", "inspect", &format!("grafana/{tag}")])).is_ok());
        let mut up = cluster.command(&["up", "-d", "--no-build"]);
        up.args(services.lines().filter(|service| has_grafana || *service != "grafana"));
        up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("docker compose up")?;
        Ok(cluster)
    }

    /// A `docker compose` command for this project.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.compose[0]);
        command.args(&self.compose[1..]).args(["-p", &self.project]).args(arguments);
        command.current_dir(repository("."));
        command.env("SECATEUR_ADDRESS", &self.router).env("SECATEUR_PROMETHEUS_ADDRESS", &self.prometheus);
        for variable in ["SECATEUR_MODEL_DIR", "SECATEUR_PLAN", "SECATEUR_VISUAL", "SECATEUR_TRANSFER"] {
            // The test is of the file's defaults.
            command.env_remove(variable);
        }
        command
    }

    /// Runs `docker compose` for this project and waits until it ends.
    pub fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(&mut self.command(arguments))
    }

    /// The URL of `path` on the router.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.router)
    }

    /// Prometheus's answer to a query.
    pub async fn query(&self, query: &str) -> anyhow::Result<Value> {
        let url = format!("http://{}/api/v1/query?query={query}", self.prometheus);
        Ok(self.client.get(url).send().await?.json().await?)
    }

    /// Ids of a service's running containers.
    pub fn containers(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let filter = |label: &str, value: &str| format!("label=com.docker.compose.{label}={value}");
        let (project, service) = (filter("project", &self.project), filter("service", service));
        let found = docker(&["ps", "-q", "--filter", &project, "--filter", &service])?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// Name of the network that nodes are on.
    pub fn nodes_network(&self) -> String {
        format!("{}_nodes", self.project)
    }

    /// Posts a chat completion and returns status and body. An error means that the client timed out.
    pub async fn ask(&self, body: &Value) -> anyhow::Result<(u16, Value)> {
        let answer = self.client.post(self.url("/v1/chat/completions")).json(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The router's view of the cluster.
    pub async fn view(&self) -> anyhow::Result<Value> {
        Ok(self.client.get(self.url("/v1/cluster")).send().await?.json().await?)
    }

    /// Waits until `prefill` and `decode` nodes can serve; returns how long that took.
    pub async fn until_serving(&self, prefill: usize, decode: usize) -> anyhow::Result<Duration> {
        let serving = |nodes: &[Value], role: &str| {
            nodes
                .iter()
                .filter(|node| node["role"] == role && node["state"] == "up" && node["unusable"].is_null())
                .count()
        };
        self.until(&format!("{prefill} prefill and {decode} decode nodes serve"), |nodes| {
            (serving(nodes, "prefill"), serving(nodes, "decode")) == (prefill, decode)
        })
        .await
    }

    /// Waits until the router lists `count` nodes, up or not.
    pub async fn until_shown(&self, count: usize) -> anyhow::Result<Duration> {
        self.until(&format!("{count} nodes are shown"), |nodes| nodes.len() == count).await
    }

    /// Waits until the router's list of nodes satisfies `holds`.
    async fn until(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> anyhow::Result<Duration> {
        let since = Instant::now();
        let mut last = Value::Null;
        while since.elapsed() < UP_MAX {
            if let Ok(view) = self.view().await {
                if view["nodes"].as_array().is_some_and(|nodes| holds(nodes)) {
                    return Ok(since.elapsed());
                }
                last = view;
            }
            sleep(POLL).await;
        }
        anyhow::bail!("{what}: waited in vain; the router sees {last}")
    }

    /// Waits until `body` is answered successfully; returns the answer.
    pub async fn until_answered(&self, body: &Value) -> anyhow::Result<Value> {
        let since = Instant::now();
        while since.elapsed() < UP_MAX {
            if let Ok((200, answer)) = self.ask(body).await {
                return Ok(answer);
            }
            sleep(POLL).await;
        }
        anyhow::bail!("no answer in {} s", UP_MAX.as_secs())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() || env::var_os("SECATEUR_COMPOSE_LOGS").is_some() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "40"]).unwrap_or_else(|error| error.to_string());
            eprintln!("{logs}");
        }
        if let Err(error) = self.compose(&["down", "-v", "--timeout", "5", "--remove-orphans"]) {
            eprintln!("{} is still there: {error:#}", self.project);
        }
    }
}

/// Time since the last of these containers was started.
pub fn since_start(containers: &[String]) -> anyhow::Result<Duration> {
    let seconds = |text: String| -> anyhow::Result<f64> { Ok(text.parse()?) };
    let now = seconds(run(Command::new("date").arg("+%s.%N"))?)?;
    let mut last = 0f64;
    for id in containers {
        let started = docker(&["inspect", "-f", "{{.State.StartedAt}}", id])?;
        last = last.max(seconds(run(Command::new("date").args(["-d", &started, "+%s.%N"]))?)?);
    }
    Ok(Duration::from_secs_f64((now - last).max(0.0)))
}

/// Runs `docker` and returns its output.
pub fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("docker").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    ensure!(status.success(), "{shown}: {status}: {}", String::from_utf8_lossy(&stderr).trim());
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}
