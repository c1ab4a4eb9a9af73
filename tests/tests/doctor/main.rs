//! `secateur doctor` against each of the real mistakes that it has to detect: it must find the mistake, give advice,
//! and exit with status 1; and a healthy cluster must pass.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod impostor;
mod slow;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use impostor::Impostor;
use secateur_proto::v1::{NodeDescription, Role as NodeRole};
use secateur_tests::{cluster::Nodes, repository, role::Role, suite::demo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const PATIENCE: Duration = Duration::from_secs(60);

/// Exit status and output of a run.
struct Report {
    status: Option<i32>,
    document: Value,
}

fn doctor(arguments: &[&str]) -> Report {
    let mut command = Command::new(PROGRAM);
    let output = command.arg("doctor").args(arguments).arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {said}"));
    Report { status: output.status.code(), document }
}

impl Report {
    fn check(&self, name: &str) -> &Value {
        let checks = self.document["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"].as_str().unwrap().starts_with(name))
            .unwrap_or_else(|| panic!("no check {name}: {}", self.document))
    }

    /// Asserts that the check failed; returns its finding and its advice.
    fn failed(&self, name: &str) -> (String, String) {
        let check = self.check(name);
        assert_eq!((self.status, &check["ok"]), (Some(1), &Value::Bool(false)), "{}", self.document);
        let text = |key: &str| check[key].as_str().unwrap().to_owned();
        assert!(!text("advice").is_empty(), "{check}");
        (text("found"), text("advice"))
    }
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn family(name: &str) -> PathBuf {
    repository("tests/fixtures/families").join(name)
}

/// A folder with links to the files of a checkpoint, except those in `without`.
fn copy(from: &Path, without: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let name = entry.file_name();
        if entry.path().is_file() && !without.contains(&name.to_str().unwrap()) {
            std::os::unix::fs::symlink(entry.path().canonicalize().unwrap(), dir.path().join(name)).unwrap();
        }
    }
    dir
}

/// A port that no program listens on, and that no other program gets while it is held.
fn closed_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
}

/// Waits until the check fails with the finding `what`: a node listens before it has loaded its model, and a busy
/// machine answers late. Returns finding and advice.
fn failed_by(arguments: &[&str], name: &str, what: &str) -> (String, String) {
    let since = Instant::now();
    loop {
        let (found, advice) = doctor(arguments).failed(name);
        if found.contains(what) {
            return (found, advice);
        }
        assert!(since.elapsed() < PATIENCE, "no {what:?} in {found:?}");
    }
}

/// Waits until every check passes.
fn until_well(arguments: &[&str]) {
    let since = Instant::now();
    while doctor(arguments).status != Some(0) {
        assert!(since.elapsed() < PATIENCE, "{}", doctor(arguments).document);
    }
}

#[test]
fn a_first_look_covers_this_machine_and_the_demo() {
    let report = doctor(&[]);
    for name in ["port 127.0.0.1:8080", "model folder", "architecture", "memory", "tokenizer"] {
        report.check(name);
    }
    assert_eq!(report.check("architecture")["ok"], true, "{}", report.document);
    holds(report.check("memory")["found"].as_str().unwrap(), &["for weights", "for KV", "is free"]);
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (found, advice) = doctor(&["--listen", &format!("127.0.0.1:{port}")]).failed("port");
    holds(&found, &["in use"]);
    holds(&advice, &["ss -ltnp", &port.to_string(), "--port"]);
    drop(taken);
    assert_eq!(doctor(&["--listen", &format!("127.0.0.1:{port}")]).status, Some(0));
}

#[test]
fn a_program_that_does_not_say_it_is_a_router_is_shown_no_key() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let heard = thread::spawn(move || {
        let (mut stream, _) = stranger.accept().unwrap();
        let mut head = String::new();
        for line in
            BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap).take_while(|l| !l.is_empty())
        {
            head.push_str(&line);
        }
        stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        head
    });
    let mut command = Command::new(PROGRAM);
    let output = command.args(["doctor", "--listen", &address]).env("SECATEUR_API_KEY", "a-key").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    holds(&said, &["in use, by another program"]);
    let head = heard.join().unwrap();
    assert!(head.starts_with("GET /openapi.json") && !head.contains("a-key"), "{head}");
}

#[test]
fn a_wrong_folder_and_the_right_one_beside_it() {
    let root = tempfile::tempdir().unwrap();
    let (empty, right) = (root.path().join("empty"), root.path().join("right"));
    fs::create_dir(&empty).unwrap();
    std::os::unix::fs::symlink(demo().canonicalize().unwrap(), &right).unwrap();
    let (found, advice) = doctor(&["--model", text(&empty)]).failed("model folder");
    holds(&found, &["no config.json"]);
    holds(&advice, &["tokenizer.json", text(&right)]);
    let typo = root.path().join("rihgt");
    holds(&doctor(&["--model", text(&typo)]).failed("model folder").1, &[text(&right)]);
    // A download that was interrupted in the middle of a shard.
    let partial = copy(&family("llama-linear"), &["model-00002-of-00003.safetensors"]);
    let (found, _) = doctor(&["--model", text(partial.path())]).failed("model folder");
    holds(&found, &["model-00002-of-00003.safetensors"]);
    let gguf = repository("tests/fixtures/gguf/models/llama-q4_0.gguf");
    let found = doctor(&["--model", text(&gguf)]);
    assert_eq!(found.status, Some(0), "{}", found.document);
    let foreign = tempfile::tempdir().unwrap();
    let file = foreign.path().join("a.gguf");
    let mut bytes = fs::read(&gguf).unwrap();
    let at = bytes.windows(5).position(|window| window == b"llama").unwrap();
    bytes[at..at + 5].copy_from_slice(b"alien");
    fs::write(&file, bytes).unwrap();
    let (found, advice) = doctor(&["--model", text(foreign.path())]).failed("architecture");
    holds(&found, &["general.architecture", "`alien`"]);
    holds(&advice, &["qwen3", "Q6_K"]);

    let short = copy(&demo(), &["model.safetensors"]);
    let whole = fs::read(demo().join("model.safetensors")).unwrap();
    fs::write(short.path().join("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
    holds(&doctor(&["--model", text(short.path())]).failed("weights").0, &["model.safetensors"]);
}

#[test]
fn a_missing_tokenizer() {
    let bare = copy(&demo(), &["tokenizer.json"]);
    let (found, advice) = doctor(&["--model", text(bare.path())]).failed("tokenizer");
    holds(&found, &["tokenizer.json is missing"]);
    holds(&advice, &["download tokenizer.json"]);
}

#[test]
fn an_unsupported_architecture_is_named_by_its_field() {
    let dir = copy(&family("llama3"), &["config.json"]);
    let config = fs::read_to_string(family("llama3").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["rope_scaling"] = serde_json::json!({"rope_type": "yarn", "factor": 4.0});
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let (found, advice) = doctor(&["--model", text(dir.path())]).failed("architecture");
    holds(&found, &["rope_scaling", "yarn"]);
    holds(&advice, &["rope_scaling", "Llama"]);
}

#[test]
fn a_plan_of_another_model_and_a_broken_one() {
    let dir = tempfile::tempdir().unwrap();
    let plan =
        ["plan", "--out", text(dir.path()), "--decode-remove", "1", "--samples", "8", "--seeds", "1", "--steps", "2"];
    let output = Command::new(PROGRAM).args(plan).args(["--repair", "none", "--kv-ratio", "0"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let own = doctor(&["--plan", text(dir.path())]);
    assert_eq!((own.status, &own.check("plan")["ok"]), (Some(0), &Value::Bool(true)), "{}", own.document);
    let other = family("llama3");
    let (found, advice) = doctor(&["--model", text(&other), "--plan", text(dir.path())]).failed("plan");
    holds(&found, &["another checkpoint", "model_fingerprint"]);
    holds(&advice, &["secateur plan --model", text(&other)]);
    fs::write(dir.path().join("plan.json"), "{").unwrap();
    let (found, advice) = doctor(&["--plan", text(dir.path())]).failed("plan");
    holds(&found, &["plan.json"]);
    holds(&advice, &["secateur plan"]);
}

#[test]
fn too_little_memory() {
    let (found, advice) = doctor(&["--model", text(&demo()), "--kv-memory", "900TiB"]).failed("memory");
    holds(&found, &["921600.00 GiB for KV", "is free"]);
    holds(&advice, &["--kv-memory", "at most"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_peer_by_what_keeps_it() {
    let held = closed_port();
    let closed = held.local_addr().unwrap().to_string();
    let (found, advice) = doctor(&["--node", &closed]).failed("node");
    holds(&found, &["nothing listens"]);
    holds(&advice, &["0.0.0.0", &closed]);
    let (found, advice) = doctor(&["--node", "no-such-host.invalid:7001"]).failed("node");
    holds(&found, &["no address"]);
    holds(&advice, &["getent hosts no-such-host.invalid"]);

    // A node that requires a secret, called without one.
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "a-secret-of-this-test\n").unwrap();
    let guarded =
        Role::start(PROGRAM, &["decode", "--model", text(&demo()), "--cluster-secret-file", text(&secret)]).unwrap();
    let address = guarded.address.to_string();
    until_well(&["--node", &address, "--cluster-secret-file", text(&secret)]);
    let (_, advice) = failed_by(&["--node", &address], "node", "cluster secret");
    holds(&advice, &["--cluster-secret-file"]);

    // A node that requires TLS, called without it.
    let files = certificate(dir.path());
    let flags = ["--tls-cert", &files[0], "--tls-key", &files[1], "--tls-ca", &files[0]];
    let encrypted = Role::start(PROGRAM, &[&["decode", "--model", text(&demo())], &flags[..]].concat()).unwrap();
    let address = encrypted.address.to_string();
    let (_, advice) = failed_by(&["--node", &address], "node", "wants TLS");
    holds(&advice, &["--tls-ca"]);
    // The reverse: a plain node, called with TLS.
    let plain = Role::start(PROGRAM, &["decode", "--model", text(&demo())]).unwrap();
    let called = ["--node", &plain.address.to_string()];
    until_well(&called);
    failed_by(&[&called[..], &flags].concat(), "node", "do not agree on TLS");

    // The router's address, given as a node's; then a router's URL at which there is none.
    let model = demo();
    let router = ["router", "--model", text(&model), "--prefill", &closed, "--decode", &closed];
    let router = Role::start(PROGRAM, &router).unwrap();
    failed_by(&["--node", &router.address.to_string()], "node", "HTTP server");
    let (found, _) = doctor(&["--url", &format!("http://{}", plain.address)]).failed("router");
    holds(&found, &["no Secateur router"]);
    // Finally, nodes that the router itself cannot reach.
    let report = doctor(&["--url", &format!("http://{}", router.address)]);
    holds(&report.failed("router").0, &["cannot serve"]);
    holds(&report.failed(&format!("node {closed}")).0, &["nothing listens"]);
}

/// A self-signed certificate and its key, sufficient to serve with.
fn certificate(dir: &Path) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(vec!["node.secateur.test".to_owned()]).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    [text(&cert).to_owned(), text(&key).to_owned()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mismatched_versions() {
    // One node of a router has another model.
    let start = |role, model: &Path| Role::start(PROGRAM, &[role, "--model", text(model), "--dtype", "f32"]).unwrap();
    let (prefill, decode) = (start("prefill", &demo()), start("decode", &family("llama3")));
    let nodes = [prefill.address.to_string(), decode.address.to_string()];
    let model = demo();
    let router = ["router", "--model", text(&model), "--prefill", &nodes[0], "--decode", &nodes[1]];
    let router = Role::start(PROGRAM, &router).unwrap();
    let url = format!("http://{}", router.address);
    // The router's first probe may not be finished.
    let started = Instant::now();
    let report = loop {
        let report = doctor(&["--url", &url]);
        let is_seen = report.document["checks"].as_array().unwrap().iter().any(|check| check["name"] == "models");
        if is_seen || started.elapsed().as_secs() > 20 {
            break report;
        }
    };
    let (found, advice) = report.failed("models");
    holds(&found, &["demo", "llama3", &nodes[0], &nodes[1]]);
    holds(&advice, &["same checkpoint"]);
    report.failed("router");

    // A node with another protocol version.
    let future =
        Impostor::start(NodeDescription { version: "9.9.9".into(), protocol_version: 99, ..described() }).await;
    let (found, advice) = doctor(&["--node", &future.address]).failed("versions");
    holds(&found, &["9.9.9", "protocol 99"]);
    holds(&advice, &["one version"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off() {
    let ahead = Impostor::start_ahead(described(), Duration::from_secs(3_600)).await;
    let (found, advice) = doctor(&["--node", &ahead.address]).failed("clocks");
    holds(&found, &[&ahead.address, "ahead of"]);
    holds(&advice, &["timedatectl"]);
    let right = Impostor::start_ahead(described(), Duration::ZERO).await;
    assert_eq!(doctor(&["--node", &right.address]).check("clocks")["ok"], true);
}

fn described() -> NodeDescription {
    NodeDescription {
        role: NodeRole::Decode as i32,
        node_id: "impostor".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        protocol_version: secateur_proto::PROTOCOL_VERSION,
        ..NodeDescription::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_link() {
    let cluster = Nodes::start(PROGRAM, &demo()).unwrap().route(None).await.unwrap();
    let slow = slow::start(cluster.decode.address).await;
    let link = ["--link", &cluster.prefill.address.to_string(), &slow.to_string()];
    let report = tokio::task::block_in_place(|| {
        doctor(&[&link[..], &["--prompt-len", "2000", "--prefill-tokens-per-s", "30000"]].concat())
    });
    let (found, advice) = report.failed("shipment");
    holds(&found, &["2,000-token prompt", "on this link under dense", "prefill takes"]);
    holds(&advice, &["one machine", "faster link"]);
    assert!(report.document["link"]["mbit_s"].as_f64().unwrap() < 60.0, "{}", report.document);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_well_passes() {
    let cluster = Nodes::start(PROGRAM, &demo()).unwrap().route(None).await.unwrap();
    let report = doctor(&["--url", &cluster.url("/v1"), "--model", text(&demo())]);
    assert_eq!(report.status, Some(0), "{}", report.document);
    for name in ["router", "node", "versions", "models", "plans", "clocks", "model folder", "memory"] {
        report.check(name);
    }
}

#[test]
fn a_configuration_file_is_read_as_its_role_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    let (held, model) = (closed_port(), demo());
    let closed = held.local_addr().unwrap();
    let write = |extra: &str| {
        let nodes =
            format!("model = {model:?}\nlisten = \"127.0.0.1:0\"\nprefill = [\"{closed}\"]\ndecode = [\"{closed}\"]\n");
        fs::write(&file, nodes + extra).unwrap();
        doctor(&["--config", text(&file), "--role", "router"])
    };
    let right = write("");
    assert_eq!(right.check("configuration")["ok"], true, "{}", right.document);
    assert_eq!(right.check("tokenizer")["ok"], true);
    right.failed(&format!("node {closed}"));
    holds(&write("max_wating = 3\n").failed("configuration").0, &["max_wating", "unknown setting"]);
    holds(&write("max_images = 5000\n").failed("configuration").0, &["--max-images", "1000"]);
    // An unprotected node must not be reachable from everywhere.
    fs::write(&file, format!("model = {model:?}\nlisten = \"0.0.0.0:0\"\n")).unwrap();
    let (found, _) = doctor(&["--config", text(&file), "--role", "decode"]).failed("configuration");
    holds(&found, &["--cluster-secret-file", "--insecure"]);
}

#[test]
fn bad_usage_is_status_2() {
    for flags in [&["--config", "x.toml"][..], &["--url", "https://there"], &["--link", "a:1"], &["--node", "nowhere"]]
    {
        let output = Command::new(PROGRAM).arg("doctor").args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
}
