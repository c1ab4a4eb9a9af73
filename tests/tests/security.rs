//! Admission to a cluster: certificates, the shared secret, and addresses that a node does not listen on without
//! either.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::StatusCode;
use secateur_channel::{KeepAlive, LinkSecurity};
use secateur_proto::v1::{DescribeRequest, NodeDescription, node_client::NodeClient};
use secateur_tests::{cluster::Nodes, role::Role, suite};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::Status;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Name in the certificates; the nodes are called by IP address.
const NAME: &str = "node.secateur.test";
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_secs(1), timeout: Duration::from_secs(1), while_idle: false };

/// A certificate authority in its own folder, and a program's certificate and key signed by it.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        Self::naming(NAME)
    }

    /// An authority whose program certificate bears `name`.
    fn naming(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        fs::write(dir.path().join("cert.pem"), signed.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn flags(&self) -> Vec<String> {
        [vec!["--tls-server-name".to_owned(), NAME.to_owned()], self.files()].concat()
    }

    /// The TLS flags without a server name: certificates must bear the address's own name.
    fn files(&self) -> Vec<String> {
        let files = [("--tls-cert", "cert.pem"), ("--tls-key", "key.pem"), ("--tls-ca", "ca.pem")];
        files.iter().flat_map(|(flag, name)| [(*flag).to_owned(), self.path(name)]).collect()
    }

    fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// Settings of a program that trusts this authority and has a certificate signed by `signer`.
    fn program(&self, signer: Option<&Authority>, server_name: Option<&str>) -> LinkSecurity {
        LinkSecurity {
            tls_cert: signer.map(|signer| signer.file("cert.pem")),
            tls_key: signer.map(|signer| signer.file("key.pem")),
            tls_ca: Some(self.file("ca.pem")),
            tls_server_name: server_name.map(str::to_owned),
            ..LinkSecurity::default()
        }
    }
}

fn slices(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn model() -> String {
    suite::demo().to_str().unwrap().to_owned()
}

async fn describe(address: SocketAddr, security: &LinkSecurity) -> Result<NodeDescription, Status> {
    let link = security.channels().unwrap().open(&address.to_string(), KEEP_ALIVE).unwrap();
    let call = timeout(Duration::from_secs(5), async { NodeClient::new(link).describe(DescribeRequest {}).await });
    call.await.expect("the call hangs").map(tonic::Response::into_inner)
}

fn picture_question() -> (Value, String) {
    let case = suite::cases().unwrap().swap_remove(0);
    (case.body(&suite::exact()).unwrap(), suite::greedy().unwrap()[&case.id].text.clone())
}

fn secret_file(dir: &TempDir, name: &str, secret: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, format!("{secret}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The message of the router's 503, once it has asked its nodes and the message contains `why`.
async fn refusal(router: &Role, why: &str) -> String {
    let since = Instant::now();
    loop {
        let started = Instant::now();
        let (status, reply) = ask(router).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{reply}");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        let message = reply["error"]["message"].as_str().unwrap();
        if message.contains(why) {
            return message.to_owned();
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{message}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the log file contains `what`.
async fn until_logged(log: &Path, what: &str) {
    let started = Instant::now();
    while !fs::read_to_string(log).unwrap().contains(what) {
        assert!(started.elapsed() < Duration::from_secs(30), "{what:?} is not in {}", fs::read_to_string(log).unwrap());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mutual_tls_a_cluster_answers_and_strangers_are_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let flags = ours.flags();
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &slices(&flags), &slices(&flags)).unwrap();
    let cluster = nodes.route_with(None, &slices(&flags)).await.unwrap();
    let (body, expected) = picture_question();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);

    for address in [cluster.prefill.address, cluster.decode.address] {
        describe(address, &ours.program(Some(&ours), Some(NAME))).await.unwrap();
        let strangers = [
            ("plaintext", LinkSecurity::default()),
            ("no certificate", ours.program(None, Some(NAME))),
            ("another authority's certificate", ours.program(Some(&theirs), Some(NAME))),
            ("trust in another authority", theirs.program(Some(&ours), Some(NAME))),
            ("another name", ours.program(Some(&ours), None)),
        ];
        for (who, security) in strangers {
            assert!(describe(address, &security).await.is_err(), "{who} was served");
        }
    }
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);
}

/// Router and prefill call the nodes by IP address, and the nodes' certificate names only the host that resolves to it.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_found_by_name_prove_that_name() {
    let (ours, other) = (Authority::naming("localhost"), Authority::new());
    let model = model();
    for (authority, is_served) in [(&ours, true), (&other, false)] {
        let files = authority.files();
        let node = |role| Role::start(PROGRAM, &[&[role, "--model", &model][..], &slices(&files)].concat()).unwrap();
        let (prefill, decode) = (node("prefill"), node("decode"));
        let named = |role: &Role| format!("localhost:{}", role.address.port());
        let router = ["router", "--model", &model, "--prefill", &named(&prefill), "--decode", &named(&decode)];
        let router = Role::start(PROGRAM, &[&router[..], &slices(&files)].concat()).unwrap();
        let why = "does not agree on TLS";
        let started = Instant::now();
        loop {
            let (status, reply) = ask(&router).await;
            let refused = reply["error"]["message"].as_str().is_some_and(|message| message.contains(why));
            assert!(if is_served { !refused } else { status != StatusCode::OK }, "{reply}");
            if is_served && status == StatusCode::OK || !is_served && refused {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{reply}");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_certificates_do_not_fit_says_so() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("decode.log");
    let (model, flags) = (model(), ours.flags());
    let node = [&["decode", "--model", &model][..], &slices(&flags)].concat();
    let decode = Role::start_on(PROGRAM, &node, SocketAddr::from(([127, 0, 0, 1], 0)), Some(&log)).unwrap();
    let address = decode.address.to_string();
    let others = theirs.flags();
    let router = ["router", "--model", &model, "--prefill", &address, "--decode", &address];
    for (flags, why) in
        [(slices(&others), "does not agree on TLS"), (Vec::new(), "wants TLS, and this router was told to use none")]
    {
        let router = Role::start(PROGRAM, &[&router[..], &flags].concat()).unwrap();
        // The node cannot be reached until it has loaded its model.
        let started = Instant::now();
        loop {
            let (status, reply) = ask(&router).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            if reply["error"]["message"].as_str().unwrap().contains(why) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(15), "{reply}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    until_logged(&log, "TLS handshake failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_shared_secret_a_cluster_answers_and_a_wrong_one_is_a_clear_503() {
    let dir = tempfile::tempdir().unwrap();
    let right = secret_file(&dir, "right", "the-right-secret-of-this-cluster");
    let wrong = secret_file(&dir, "wrong", "the-wrong-secret-of-this-cluster");
    let flags = ["--cluster-secret-file", &right];
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &flags, &flags).unwrap();
    let cluster = nodes.route_with(None, &flags).await.unwrap();
    let (body, expected) = picture_question();
    assert_eq!(cluster.answer(&body).await.unwrap(), expected);

    let (model, log) = (model(), dir.path().join("decode.log"));
    let node = ["decode", "--model", &model, "--cluster-secret-file", &right];
    let decode = Role::start_on(PROGRAM, &node, SocketAddr::from(([127, 0, 0, 1], 0)), Some(&log)).unwrap();
    let (prefill, decode) = (cluster.prefill.address.to_string(), decode.address.to_string());
    let router = ["router", "--model", &model, "--prefill", &prefill, "--decode", &decode];
    for (flags, why) in [
        (&["--cluster-secret-file", &wrong][..], "its cluster secret is not this node's"),
        (&[][..], "it showed no cluster secret"),
    ] {
        fs::write(&log, "").unwrap();
        let router = Role::start(PROGRAM, &[&router[..], flags].concat()).unwrap();
        let message = refusal(&router, "does not accept this router's cluster secret").await;
        until_logged(&log, why).await;
        let said = fs::read_to_string(&log).unwrap();
        assert!(!said.contains("-secret-of-this-cluster") && !message.contains("-secret-of-"), "{said}");
    }
}

#[test]
fn an_address_that_others_can_reach_wants_protection_or_a_clear_word() {
    let model = model();
    for role in ["decode", "prefill"] {
        let node = [role, "--model", &model];
        let refused = Command::new(PROGRAM).args(node).args(["--listen", "0.0.0.0:0"]).stdin(Stdio::null()).output();
        let refused = refused.unwrap();
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(refused.stdout.is_empty(), "it listened");
        for way_out in ["--tls-cert", "--cluster-secret-file", "--insecure"] {
            assert!(message.contains(way_out), "{message}");
        }
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let node = [&node[..], &["--insecure"]].concat();
        let role = Role::start_on(PROGRAM, &node, everywhere, None).unwrap();
        assert!(role.address.ip().is_unspecified() && role.address.port() != 0);
    }
}

#[test]
fn half_a_configuration_is_refused_by_name_with_status_2() {
    let authority = Authority::new();
    let (model, cert) = (model(), authority.path("cert.pem"));
    let cases: [(&[&str], &str); 4] = [
        (&["decode", "--tls-cert", &cert], "--tls-key"),
        (&["prefill", "--tls-ca", &cert], "--tls-cert"),
        (&["router", "--prefill", "a:1", "--decode", "b:1", "--tls-cert", &cert], "--tls-key"),
        (&["router", "--prefill", "a:1", "--decode", "b:1", "--tls-ca", "/no/such"], "--tls-ca"),
    ];
    for (arguments, named) in cases {
        let refused = Command::new(PROGRAM).args(arguments).args(["--model", &model]).output().unwrap();
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
}

#[test]
fn the_secret_is_not_printed_with_the_configuration() {
    let model = model();
    let printed = Command::new(PROGRAM)
        .args(["decode", "--model", &model, "--print-config"])
        .env("SECATEUR_CLUSTER_SECRET", "a-secret-that-stays-one")
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success());
    assert!(text.contains("cluster_secret = \"(hidden)\"  # environment") && !text.contains("stays-one"), "{text}");
}

async fn ask(router: &Role) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let url = format!("http://{}/v1/chat/completions", router.address);
    let body = json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4});
    let answer = client.post(url).json(&body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}
