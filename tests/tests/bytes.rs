//! The bytes that receipts report match those that pass the decode node's socket: 200 picture questions, each policy by
//! itself, because in small shipments the bytes around the payload have a larger share.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use futures::{StreamExt, stream};
use secateur_tests::{
    cluster::{Cluster, Nodes},
    suite::{self, Case},
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const REQUESTS: usize = 200;
/// Requests in flight.
const CONCURRENT: usize = 4;

/// Asks a case and returns `bytes_sent` of its receipt.
async fn sent(cluster: &Cluster, case: &Case, extension: &Value) -> u64 {
    let (status, reply) = cluster.chat(&case.body(extension).unwrap()).await.unwrap();
    assert!(status.is_success(), "{}: {status} {reply}", case.id);
    let receipt = &reply["secateur"]["transfer"];
    assert_eq!(receipt["policy"], extension["transfer"]["policy"], "{reply}");
    receipt["bytes_sent"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_equal_the_socket_under_either_policy() {
    let nodes = Nodes::start(PROGRAM, &suite::demo()).unwrap();
    let proxy = nodes.decode_proxy().await.unwrap();
    let cluster = nodes.route(Some(proxy.address)).await.unwrap();
    let mut cases: Vec<Case> = suite::cases().unwrap();
    cases.retain(|case| !case.images.is_empty());
    let every = cases.len() / REQUESTS;
    assert!(every > 0, "{} cases with pictures", cases.len());
    let chosen: Vec<&Case> = cases.iter().step_by(every).take(REQUESTS).collect();
    let (dense, tiered) = chosen.split_at(REQUESTS / 2);
    for (policy, cases) in [("dense", dense), ("tiered", tiered)] {
        let extension = json!({"visual": {"method": "auto"}, "transfer": {"policy": policy}});
        let before = proxy.forward_bytes();
        let each = stream::iter(cases).map(|case| sent(&cluster, case, &extension)).buffer_unordered(CONCURRENT);
        let receipts: u64 = each.collect::<Vec<u64>>().await.into_iter().sum();
        let on_socket = proxy.forward_bytes() - before;
        let share = on_socket as f64 / receipts as f64;
        eprintln!(
            "{policy}: {} requests, {receipts} bytes in receipts, {on_socket} on the socket: {share:.4}",
            cases.len()
        );
        assert!((0.99..1.01).contains(&share), "{policy}: {receipts} bytes in receipts, {on_socket} on the socket");
    }
}
