//! Tests every panel of every dashboard, and every alert, with a real Prometheus that scrapes a real cluster under
//! load: each query returns series with finite numbers, each named metric exists, each alert has its page in the
//! runbook.
//!
//! The test needs Debian's `prometheus` (with `promtool`) on the PATH; if it is missing, the test is skipped with a
//! message, or fails if `SECATEUR_NEED_PROMETHEUS=1` is set, as in CI.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    collections::BTreeSet,
    env, fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use reqwest::{
    Client,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use secateur_tests::{
    repository,
    role::Role,
    suite::{self, Case},
};
use serde_json::{Value, json};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const NEED: &str = "SECATEUR_NEED_PROMETHEUS";
/// Replacements for Grafana's variables. Prometheus scrapes twice a second here.
const WORDS: [(&str, &str); 3] = [("$__rate_interval", "20s"), ("$__range", "60s"), ("$model", ".*")];

/// The one API key, `abc`, so that the panels of keys have something to show.
const KEYS: &str = r#"[[key]]
name = "panels"
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"#;

/// Whether the tests can run; a development machine may lack Prometheus.
fn wanted() -> bool {
    let is_there = |program: &&str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let Some(missing) = ["prometheus", "promtool"].into_iter().find(|program| !is_there(program)) else { return true };
    let text = format!("{missing} is not on the PATH: apt-get install prometheus");
    assert!(env::var_os(NEED).is_none(), "{text}");
    eprintln!("left out: {text}");
    false
}

/// Two prefill nodes, two decode nodes and their router.
struct Cluster {
    client: Client,
    decode: Vec<Role>,
    router: Role,
    _prefill: Vec<Role>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let model = suite::demo();
        let model = model.to_str().unwrap();
        let two = |role| [0, 1].map(|_| Role::start(PROGRAM, &[role, "--model", model, "--threads", "1"]).unwrap());
        let (prefill, decode) = (Vec::from(two("prefill")), Vec::from(two("decode")));
        let listed = |roles: &[Role]| roles.iter().map(|role| role.address.to_string()).collect::<Vec<_>>().join(",");
        let (prefills, decodes) = (listed(&prefill), listed(&decode));
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.toml");
        fs::write(&keys, KEYS).unwrap();
        // The limits are low, so that some requests are refused.
        let flags = ["--max-concurrent", "6", "--max-waiting", "2", "--api-keys-file", keys.to_str().unwrap()];
        let arguments = ["router", "--model", model, "--prefill", &prefills, "--decode", &decodes];
        let router = Role::start(PROGRAM, &[&arguments[..], &flags].concat()).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer abc"))]);
        let client = Client::builder().no_proxy().default_headers(headers).build().unwrap();
        let cluster = Self { client, decode, router, _prefill: prefill, _folder: folder };
        until("the cluster is ready", async || cluster.get("/health").await.is_some()).await;
        cluster
    }

    async fn get(&self, path: &str) -> Option<String> {
        let answer = self.client.get(format!("http://{}{path}", self.router.address)).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    /// Number of answers that the router has in progress on a node.
    async fn in_flight(&self, address: &str) -> u64 {
        self.node(address).await["in_flight"].as_u64().unwrap()
    }

    /// The router's view of a node.
    async fn node(&self, address: &str) -> Value {
        let view: Value = serde_json::from_str(&self.get("/v1/cluster").await.unwrap()).unwrap();
        let node = view["nodes"].as_array().unwrap().iter().find(|node| node["address"] == address);
        node.unwrap_or_else(|| panic!("no node {address}")).clone()
    }

    /// Number of retries that the router has counted, for any reason.
    async fn retries(&self) -> f64 {
        let page = self.get("/metrics").await.unwrap();
        let lines = page.lines().filter(|line| line.starts_with("secateur_request_retries_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Sends a chat request and returns its status.
    async fn ask(&self, body: String) -> u16 {
        let request = self.client.post(format!("http://{}/v1/chat/completions", self.router.address));
        request.header("content-type", "application/json").body(body).send().await.unwrap().status().as_u16()
    }

    /// Sends all requests, `at_once` at a time; returns their statuses.
    async fn burst(&self, bodies: Vec<String>, at_once: usize) -> BTreeSet<u16> {
        stream::iter(bodies).map(|body| self.ask(body)).buffer_unordered(at_once).collect().await
    }
}

/// `count` picture questions, spread over the policies.
fn questions(cases: &[Case], count: usize) -> Vec<String> {
    let extension = |number: usize| match number % 3 {
        0 => json!({"visual": {"method": "none"}, "transfer": {"policy": "dense"}}),
        1 => json!({"transfer": {"policy": "tiered"}}),
        _ => json!({"visual": {"method": "auto"}, "transfer": {"policy": "auto"}}),
    };
    (0..count).map(|number| cases[number * 5 % cases.len()].body(&extension(number)).unwrap().to_string()).collect()
}

/// Requests with answers long enough for a node to die during them.
fn long_answers(count: usize) -> Vec<String> {
    let body = |number| {
        let message = json!({"role": "user", "content": format!("Count {number} red circles")});
        json!({"messages": [message], "temperature": 0, "max_tokens": 800, "ignore_eos": true}).to_string()
    };
    (0..count).map(body).collect()
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(60), "after a minute still not: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A Prometheus process of this test; killed on drop.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it with the repository's configuration and alerts, except for the router's address and the scrape
    /// interval.
    async fn start(router: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let given = fs::read_to_string(repository("deploy/prometheus/prometheus.yml")).unwrap();
        let paces = [("_interval: 5s", "_interval: 500ms"), ("_timeout: 4s", "_timeout: 400ms")];
        let target = router.to_string();
        let config = paces.into_iter().chain([("router:8080", target.as_str())]).fold(given, |text, (from, to)| {
            assert!(text.contains(from), "prometheus.yml has no `{from}` any more");
            text.replace(from, to)
        });
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        fs::copy(repository("deploy/prometheus/alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let prometheus = Self { process, address, client, _folder: folder };
        until("Prometheus is ready", async || prometheus.is_ready().await).await;
        prometheus
    }

    async fn try_get(&self, path: &str) -> Option<String> {
        self.client.get(format!("http://{}{path}", self.address)).send().await.ok()?.text().await.ok()
    }

    async fn is_ready(&self) -> bool {
        let asked = self.client.get(format!("http://{}/-/ready", self.address)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// The field `data` of an API answer, or its error.
    async fn api(&self, path: &str) -> Result<Value, String> {
        let text = self.try_get(&format!("/api/v1/{path}")).await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer["error"].to_string()) }
    }

    /// Names of all metrics that it has.
    async fn names(&self) -> BTreeSet<String> {
        serde_json::from_value(self.api("label/__name__/values").await.unwrap()).unwrap()
    }

    /// The values that a query returns now.
    async fn values(&self, query: &str) -> Result<Vec<f64>, String> {
        let data = self.api(&format!("query?query={}", percent_encoded(query))).await?;
        let series = data["result"].as_array().cloned().unwrap_or_default();
        Ok(series.iter().map(|series| series["value"][1].as_str().unwrap().parse().unwrap()).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // This only fails if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

/// One query of a dashboard.
struct Target {
    panel: String,
    /// The query with Grafana's variables replaced.
    query: String,
}

fn targets(board: &Value) -> Vec<Target> {
    let mut targets = Vec::new();
    for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        for key in ["description", "type"] {
            assert!(panel[key].as_str().is_some_and(|text| !text.is_empty()), "{title} has no {key}");
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title} asks nothing");
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["legendFormat"].as_str().is_some_and(|text| !text.is_empty()), "{title} has no legend");
            let given = target["expr"].as_str().unwrap().to_owned();
            let query = WORDS.iter().fold(given, |query, (word, value)| query.replace(word, value));
            assert!(!query.contains('$'), "{title}: {query}");
            targets.push(Target { panel: title.to_owned(), query });
        }
    }
    targets
}

fn boards() -> Vec<Value> {
    let files = fs::read_dir(repository("deploy/grafana/dashboards")).unwrap();
    let boards: Vec<Value> =
        files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect();
    assert!(!boards.is_empty());
    boards
}

/// The Secateur and vLLM metrics that a query names.
fn metrics(query: &str) -> BTreeSet<String> {
    let words = query.split(|char: char| !(char.is_ascii_alphanumeric() || char == '_' || char == ':'));
    let ours = |word: &&str| word.starts_with("secateur_") || word.starts_with("vllm:");
    words.filter(ours).map(str::to_owned).collect()
}

/// Kills a decode node while it works on an answer, and restarts it.
async fn lose_a_decode_node(cluster: &mut Cluster) {
    let mut lost = cluster.decode.remove(0);
    let address = lost.address.to_string();
    let (during, ()) = tokio::join!(cluster.burst(long_answers(16), 4), async {
        until("the node has work", async || cluster.in_flight(&address).await > 0).await;
        lost.kill();
    });
    assert_eq!(during, BTreeSet::from([200]), "answers go on elsewhere");
    lost.restart().unwrap();
    cluster.decode.push(lost);
    // The node listens before it has loaded its model.
    until("it is back", async || cluster.node(&address).await["state"] == "up").await;
}

/// Produces answers, and refusals of every kind.
async fn some_of_everything(cluster: &Cluster, cases: &[Case]) {
    assert_eq!(cluster.burst(questions(cases, 30), 4).await, BTreeSet::from([200]));
    let crowd = cluster.burst(questions(cases, 24), 24).await;
    assert!(crowd.contains(&429), "nobody was turned away: {crowd:?}");
    let bad = vec!["{".into(), "[]".into(), json!({"messages": []}).to_string()];
    assert_eq!(cluster.burst(bad, 1).await, BTreeSet::from([400]));
}

/// Kills nodes until a retry is counted: a node may finish its answers between the check and its death.
async fn lose_nodes_until_it_is_noticed(cluster: &mut Cluster) {
    for _ in 0..10 {
        lose_a_decode_node(cluster).await;
        if cluster.retries().await > 0.0 {
            return;
        }
    }
    panic!("ten times a node died under its answers, and nobody noticed");
}

/// Problems with the panels' current figures; also prints a table of the figures.
async fn look(prometheus: &Prometheus, targets: &[Target], names: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    eprintln!("| panel | series | first value | query |\n|---|---|---|---|");
    for Target { panel, query } in targets {
        let values = prometheus.values(query).await.unwrap_or_else(|error| panic!("{panel}: {query}: {error}"));
        let first = values.first().map_or("none".to_owned(), |value| format!("{value:.4}"));
        eprintln!("| {panel} | {} | {first} | `{query}` |", values.len());
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            wrong.push(format!("{panel}: {query}: {values:?}"));
        }
        wrong.extend(metrics(query).iter().filter(|name| !names.contains(*name)).map(|name| format!("no {name}")));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_has_its_figures() {
    if !wanted() {
        return;
    }
    let mut cluster = Cluster::start().await;
    let prometheus = Prometheus::start(cluster.router.address).await;
    // A rate needs a first value.
    until("it is scraped", async || prometheus.values("secateur_ready").await.is_ok_and(|values| values == [1.0]))
        .await;
    let cases: Vec<Case> = suite::cases().unwrap().into_iter().filter(|case| !case.images.is_empty()).collect();
    some_of_everything(&cluster, &cases).await;
    lose_nodes_until_it_is_noticed(&mut cluster).await;

    let targets: Vec<Target> = boards().iter().flat_map(targets).collect();
    assert!(targets.len() > 40, "{} queries", targets.len());
    // Rates cover only a few scrapes, and a busy machine misses some, so the check is repeated.
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for _ in 0..5 {
        some_of_everything(&cluster, &cases).await;
        sleep(Duration::from_millis(1_200)).await;
        names = prometheus.names().await;
        wrong = look(&prometheus, &targets, &names).await;
        if wrong.is_empty() {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    until("the retries are scraped", async || {
        prometheus.values("sum(secateur_request_retries_total)").await.is_ok_and(|values| values[0] > 0.0)
    })
    .await;

    check_alerts(&prometheus, &names).await;
}

async fn check_alerts(prometheus: &Prometheus, names: &BTreeSet<String>) {
    let rules = prometheus.api("rules").await.unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    let runbook = fs::read_to_string(repository("docs/runbook.md")).unwrap();
    assert!(rules.len() >= 10, "{}", rules.len());
    eprintln!("| alert | series | query |\n|---|---|---|");
    for rule in rules {
        let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        let values = prometheus.values(query).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        eprintln!("| {name} | {} | `{query}` |", values.len());
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        for metric in metrics(query) {
            assert!(names.contains(&metric), "{name} names {metric}, which there is not");
        }
        let annotations = &rule["annotations"];
        for key in ["summary", "description"] {
            assert!(annotations[key].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {key}");
        }
        assert_eq!(annotations["runbook_url"], format!("docs/runbook.md#{}", name.to_lowercase()));
        assert!(runbook.lines().any(|line| line == format!("## {name}")), "{name} is not in the runbook");
    }
}

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new("promtool").args(arguments).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn promtool_accepts_the_configuration_and_the_alerts_do_what_their_tests_say() {
    if !wanted() {
        return;
    }
    promtool(&["check", "config"], &repository("deploy/prometheus/prometheus.yml"));
    promtool(&["check", "rules"], &repository("deploy/prometheus/alerts.yml"));
    promtool(&["test", "rules"], &repository("deploy/prometheus/alerts_test.yml"));
}
