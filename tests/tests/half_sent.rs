//! Calls that are never finished: the memory that they cost a node during and after the attack, and whether other calls
//! are served meanwhile. The attack uses one connection, which any client that reaches the port can open.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use secateur_proto::v1::{DescribeRequest, node_client::NodeClient};
use secateur_tests::{cluster::Nodes, role::Role, suite};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tonic::transport::Endpoint;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const STREAMS: usize = 400;
const MIB: usize = 1 << 20;
/// Lock that limits the tests to one attacked node at a time, so that the measured memory is that of one attack.
static ONE_NODE: Mutex<()> = Mutex::const_new(());

/// A half-sent call: the length that its first message claims, and the part that is sent.
#[derive(Clone, Copy)]
struct Half {
    path: &'static str,
    length: usize,
    sent: usize,
}

/// Half-sent calls on one connection, which closes on drop.
struct Flood {
    connection: JoinHandle<()>,
    calls: JoinSet<()>,
}

impl Flood {
    async fn start(address: SocketAddr, half: Half) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut calls = JoinSet::new();
        for _ in 0..STREAMS {
            calls.spawn(call(client.clone(), address, half));
        }
        Self { connection, calls }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.calls.abort_all();
        self.connection.abort();
    }
}

/// Sends as much of the message as the node accepts, then nothing more.
async fn call(client: SendRequest<Bytes>, address: SocketAddr, half: Half) {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}{}", half.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let Ok(mut client) = client.ready().await else { return };
    let Ok((_answer, mut body)) = client.send_request(request, false) else { return };
    let mut message = vec![0];
    message.extend((half.length as u32).to_be_bytes());
    message.resize(message.len() + half.sent, 7);
    let mut left = Bytes::from(message);
    while !left.is_empty() {
        body.reserve_capacity(left.len());
        let Some(Ok(room)) = std::future::poll_fn(|context| body.poll_capacity(context)).await else { return };
        if body.send_data(left.split_to(room.min(left.len())), false).is_err() {
            return;
        }
    }
    std::future::pending().await
}

/// Resident memory of a process, in bytes.
fn resident(role: &Role) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", role.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

async fn describe(address: SocketAddr) {
    let asked = async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        NodeClient::new(channel).describe(DescribeRequest {}).await.unwrap();
    };
    timeout(Duration::from_secs(5), asked).await.expect("a normal call is not served");
}

/// Largest growth of a node's memory during half-sent calls, and the growth that remains after them.
async fn grows(role: &Role, half: Half, meanwhile: impl AsyncFn()) -> (usize, usize) {
    describe(role.address).await;
    let before = resident(role);
    let flood = Flood::start(role.address, half).await;
    let (mut most, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(4) {
        most = most.max(resident(role).saturating_sub(before));
        sleep(Duration::from_millis(50)).await;
    }
    describe(role.address).await;
    meanwhile().await;
    most = most.max(resident(role).saturating_sub(before));
    drop(flood);
    let (mut left, started) = (usize::MAX, Instant::now());
    while started.elapsed() < Duration::from_secs(10) && left > 8 * MIB {
        sleep(Duration::from_millis(100)).await;
        left = resident(role).saturating_sub(before);
    }
    eprintln!("{}: {} MiB under {STREAMS} half-sent calls, {} MiB after them", half.path, most / MIB, left / MIB);
    (most, left)
}

fn question(words: usize) -> Value {
    let text = "word ".repeat(words);
    json!({"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_calls_cost_a_decode_node_little_and_nothing_afterwards() {
    let _alone = ONE_NODE.lock().await;
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &[], &["--kv-memory", "64MiB"]).unwrap();
    let cluster = nodes.route(None).await.unwrap();
    let expected = cluster.answer(&question(50)).await.unwrap();
    let serves = async || assert_eq!(cluster.answer(&question(50)).await.unwrap(), expected);
    for half in [
        Half { path: "/secateur.v1.KvTransfer/Ship", length: 8 * MIB - 9, sent: 2 * MIB },
        Half { path: "/secateur.v1.KvTransfer/Ship", length: 3 * MIB, sent: 2 * MIB },
        Half { path: "/secateur.v1.Decode/Generate", length: 3 * MIB, sent: 2 * MIB },
        Half { path: "/secateur.v1.Node/Describe", length: MIB, sent: MIB / 2 },
        Half { path: "/secateur.v1.Node/Sink", length: 3 * MIB / 2, sent: MIB },
    ] {
        let (most, left) = grows(&cluster.decode, half, &serves).await;
        assert!(most < 96 * MIB, "{}: {} MiB", half.path, most / MIB);
        assert!(left < 24 * MIB, "{}: {} MiB are kept", half.path, left / MIB);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_calls_cost_a_prefill_node_little_and_nothing_afterwards() {
    let _alone = ONE_NODE.lock().await;
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &["--kv-memory", "64MiB"], &[]).unwrap();
    let cluster = nodes.route(None).await.unwrap();
    let expected = cluster.answer(&question(50)).await.unwrap();
    let serves = async || assert_eq!(cluster.answer(&question(50)).await.unwrap(), expected);
    for half in [
        Half { path: "/secateur.v1.Prefill/Run", length: 200 * MIB, sent: 2 * MIB },
        Half { path: "/secateur.v1.Prefill/Run", length: 3 * MIB, sent: 2 * MIB },
        Half { path: "/secateur.v1.Node/MeasureLink", length: MIB, sent: MIB / 2 },
        Half { path: "/grpc.health.v1.Health/Check", length: MIB, sent: MIB / 2 },
    ] {
        let (most, left) = grows(&cluster.prefill, half, &serves).await;
        assert!(most < 160 * MIB, "{}: {} MiB", half.path, most / MIB);
        assert!(left < 24 * MIB, "{}: {} MiB are kept", half.path, left / MIB);
    }
}
