//! Invariant 5, dense is exact: the answers to the whole evaluation suite through real processes over HTTP, with
//! pruning off and dense transfer, equal the greedy output of single-process transformers in f32; and the receipts'
//! bytes match those that passed the decode node's socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use secateur_tests::{
    cluster::Nodes,
    suite::{self, Case},
};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Requests in flight: enough that sequences of different length share decode steps.
const CONCURRENT: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_equals_transformers_and_receipts_equal_the_socket() {
    use futures::{StreamExt, stream};
    let nodes = Nodes::start(PROGRAM, &suite::demo()).unwrap();
    let proxy = nodes.decode_proxy().await.unwrap();
    let cluster = nodes.route(Some(proxy.address)).await.unwrap();
    let (cases, greedy) = (suite::cases().unwrap(), suite::greedy().unwrap());
    assert!(cases.len() >= 600, "{} cases", cases.len());
    let before = proxy.forward_bytes();
    let ask = async |case: &Case| -> Value {
        let (status, reply) = cluster.chat(&case.body(&suite::exact()).unwrap()).await.unwrap();
        assert!(status.is_success(), "{}: {status} {reply}", case.id);
        reply
    };
    let replies: Vec<Value> = stream::iter(&cases).map(ask).buffered(CONCURRENT).collect().await;
    let on_socket = proxy.forward_bytes() - before;
    let mut differing = Vec::new();
    let mut sent = 0;
    for (case, reply) in cases.iter().zip(&replies) {
        let expected = &greedy[&case.id];
        let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
        if text != expected.text.trim_start() && text != expected.text {
            differing.push(format!("{}: {text:?} where transformers says {:?}", case.id, expected.text));
        }
        assert_eq!(reply["usage"]["prompt_tokens"], expected.prompt_tokens, "{}", case.id);
        sent += reply["secateur"]["transfer"]["bytes_sent"].as_u64().unwrap();
    }
    assert!(differing.is_empty(), "{} of {} differ:\n{}", differing.len(), cases.len(), differing.join("\n"));
    let share = on_socket as f64 / sent as f64;
    assert!((0.99..1.01).contains(&share), "{sent} bytes in receipts, {on_socket} on the socket: {share}");
}
