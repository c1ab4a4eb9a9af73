//! What the router decides for each request, from what it has measured, and what it says of it.

use std::sync::atomic::Ordering;

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{DType, NodeDescription, TransferPolicy},
};
use serde_json::{Value, json};

use crate::support::{
    nodes::Act,
    router::{Cluster, question, until},
};

/// No node recommends a policy: the router decides.
fn left_to_the_router(node: &mut NodeDescription) {
    node.recommended_transfer = TransferPolicy::Unspecified as i32;
}

fn refused() -> ServiceError {
    ServiceError::new(ErrorCode::KvRefused, "altered on the way").with_param("digest_mismatch")
}

async fn view(cluster: &Cluster) -> Value {
    cluster.get("/v1/cluster").await.json().await.unwrap()
}

async fn until_all_are_up(cluster: &Cluster) {
    until("all nodes are up", async || {
        view(cluster).await["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up")
    })
    .await;
}

/// A metric's value; its labels may come in any order.
async fn metric(cluster: &Cluster, name: &str, label: &str) -> f64 {
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    line.unwrap_or_else(|| panic!("no {name} {label}\n{page}")).rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_link_is_measured_and_then_decides() {
    let cluster = Cluster::of(1, 1, &[], left_to_the_router).await;
    let prefill = &cluster.prefill[0].script;
    prefill.bytes_sent.store(1 << 20, Ordering::SeqCst);
    let first = cluster.ask(json!({})).await;
    let request = prefill.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(request.transfer(), TransferPolicy::Tiered);
    assert_eq!(request.decode_dtype(), DType::Bf16);
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.transfer(), TransferPolicy::Tiered, "both are told the same");
    let positions = request.tokens.len() as u64;
    let decision = &first["secateur"]["decision"];
    assert_eq!((&decision["policy"], &decision["why"]), (&json!("tiered"), &json!("the link is not measured yet")));
    assert_eq!(decision["placement"], "disaggregated");
    assert_eq!(decision["bytes"], json!({"dense": 100 + 1_000 * positions, "tiered": 100 + 250 * positions}));
    for unknown in ["link_mbit_s", "prefill_s_predicted", "ship_s_predicted"] {
        assert_eq!(decision.get(unknown), Some(&Value::Null), "{unknown}");
    }
    let transfer = &first["secateur"]["transfer"];
    assert_eq!((&transfer["positions_held"], &transfer["encode_ms"]), (&json!(3), &json!(0.25)));
    assert_eq!(transfer["bytes_raw"], 4 << 20);

    // 100 Mbit/s: some ten kilobytes are there in a millisecond.
    let second = cluster.ask(json!({})).await;
    let decision = &second["secateur"]["decision"];
    assert_eq!((&decision["policy"], &decision["why"]), (&json!("dense"), &json!("dense takes less than 5 ms")));
    assert_eq!(decision["link_mbit_s"], 100.0);
    let ship_s = (100 + 1_000 * positions) as f64 / 12.5e6;
    assert!((decision["ship_s_predicted"].as_f64().unwrap() - ship_s).abs() < 1e-9, "{decision}");
    // Two milliseconds for nine positions.
    let prefill_s = positions as f64 * 0.002 / 9.0;
    assert!((decision["prefill_s_predicted"].as_f64().unwrap() - prefill_s).abs() < 1e-9, "{decision}");

    let view = view(&cluster).await;
    let link = &view["links"][0];
    assert_eq!((&link["prefill"], &link["decode"]), (&view["nodes"][0]["address"], &view["nodes"][1]["address"]));
    assert_eq!((&link["mbit_s"], &link["shipments"], &link["bytes"]), (&json!(100.0), &json!(2), &json!(2 << 20)));
    assert!(link["age_s"].as_f64().unwrap() < 10.0);
    assert_eq!((&view["placement"], &view["nodes"][1]["node"]["kv_dtype"]), (&json!("auto"), &json!("bf16")));
    assert!(view["nodes"][1]["measured"]["request_s"].as_f64().unwrap() > 0.0);
    let label = format!("prefill=\"{}\"", cluster.prefill[0].address);
    assert_eq!(metric(&cluster, "secateur_kv_link_bytes_per_second", &label).await, 12.5e6);
    assert_eq!(metric(&cluster, "secateur_placement_total", "disaggregated").await, 2.0);
    assert_eq!(metric(&cluster, "secateur_kv_positions_held_total", "").await, 6.0);
    assert_eq!(metric(&cluster, "secateur_kv_bytes_sent_total", "policy=\"dense\"").await, f64::from(1 << 20));
}

#[tokio::test]
async fn small_shipments_measure_nothing() {
    let cluster = Cluster::one().await;
    cluster.ask(json!({})).await;
    let link = &view(&cluster).await["links"][0];
    assert_eq!((&link["mbit_s"], &link["shipments"], &link["bytes"]), (&Value::Null, &json!(0), &json!(0)));
    assert_eq!((&link["at_least_mbit_s"], &link["small_shipments"]), (&json!(100.0), &json!(1)), "a lower bound");
    assert!(
        link["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 0),
        "what went over it counts all the same: {link}"
    );
}

#[tokio::test]
async fn nodes_on_one_machine_ship_densely_unless_machines_do_not_count() {
    let on_one = |node: &mut NodeDescription| {
        left_to_the_router(node);
        node.host_id = "one".into();
    };
    for (flags, placement, policy, ship_s) in [
        ([].as_slice(), "same-host", "dense", json!(0.0)),
        (&["--placement", "colocated"], "same-host", "dense", json!(0.0)),
        (&["--placement", "disaggregated"], "disaggregated", "tiered", Value::Null),
    ] {
        let cluster = Cluster::of(1, 1, flags, on_one).await;
        let reply = cluster.ask(json!({})).await;
        let decision = &reply["secateur"]["decision"];
        assert_eq!((&decision["placement"], &decision["policy"]), (&json!(placement), &json!(policy)));
        assert_eq!(decision["ship_s_predicted"], ship_s);
        assert_eq!(metric(&cluster, "secateur_placement_total", placement).await, 1.0);
    }
}

#[tokio::test]
async fn colocated_uses_pairs_on_one_machine_alone_and_says_when_there_is_none() {
    let spread = |node: &mut NodeDescription| node.host_id = node.node_id.replace(['p', 'd'], "host");
    let cluster = Cluster::of(2, 2, &["--placement", "colocated"], spread).await;
    until_all_are_up(&cluster).await;
    for _ in 0..4 {
        let reply = cluster.ask(json!({})).await;
        let (prefill, decode) = (&reply["secateur"]["prefill_node"], &reply["secateur"]["decode_node"]);
        assert_eq!(prefill.as_str().unwrap()[1..], decode.as_str().unwrap()[1..]);
    }
    for node in &cluster.decode {
        node.script.description.lock().unwrap().host_id = "elsewhere".into();
    }
    cluster.until_health(503).await;
    let response = cluster.post(&question(json!({}))).await;
    assert_eq!(response.status(), 503);
    let body: Value = response.json().await.unwrap();
    assert!(body["error"]["message"].as_str().unwrap().contains("--placement colocated"), "{body}");
    assert!(view(&cluster).await["reason"].as_str().unwrap().contains("share a machine"));
}

#[tokio::test]
async fn a_slow_link_is_left_for_a_pair_on_one_machine() {
    // The first decode node is on prefill's machine.
    let cluster = Cluster::of(1, 2, &[], |node| {
        left_to_the_router(node);
        node.host_id = if node.node_id == "d1" { "two" } else { "one" }.into();
    })
    .await;
    until_all_are_up(&cluster).await;
    cluster.prefill[0].script.bytes_sent.store(1 << 20, Ordering::SeqCst);
    let mut used = Vec::new();
    for _ in 0..6 {
        let reply = cluster.ask(json!({})).await;
        used.push(reply["secateur"]["decode_node"].as_str().unwrap().to_owned());
    }
    assert_eq!(used.iter().filter(|node| *node == "d1").count(), 1, "once, to measure it: {used:?}");
}

#[tokio::test]
async fn a_policy_that_is_not_offered_is_refused_and_names_what_is() {
    let cluster = Cluster::one().await;
    let response = cluster.post(&question(json!({"secateur": {"transfer": {"policy": "pdtrim"}}}))).await;
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["param"], "secateur.transfer.policy");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("needs a plan that selects layers") && message.contains("dense, tiered"), "{message}");
    assert_eq!(cluster.prefill[0].script.calls() + cluster.decode[0].script.calls(), 0);
    let reply = cluster.ask(json!({"secateur": {"transfer": {"policy": "tiered"}}})).await;
    assert_eq!(reply["secateur"]["decision"]["why"], "the request names it");
    assert_eq!(reply["secateur"]["transfer"]["policy"], "tiered");
}

#[tokio::test]
async fn a_conversation_returns_to_its_pair() {
    let cluster = Cluster::start(2, 2, &[]).await;
    until_all_are_up(&cluster).await;
    let mut messages = vec![json!({"role": "user", "content": "hello world, is the world there? ".repeat(4)})];
    let mut pairs = Vec::new();
    for _ in 0..3 {
        // Others come in between, and would turn the wheel.
        cluster.ask(json!({})).await;
        let reply = cluster.ask(json!({"messages": messages})).await;
        let receipt = &reply["secateur"];
        pairs.push((receipt["prefill_node"].clone(), receipt["decode_node"].clone()));
        messages.push(reply["choices"][0]["message"].clone());
        messages.push(json!({"role": "user", "content": "and then?"}));
    }
    assert_eq!((&pairs[1], &pairs[2]), (&pairs[0], &pairs[0]));
    let failing = if pairs[0].1 == "d0" { 0 } else { 1 };
    cluster.decode[failing].script.set(Act::Refuse(ServiceError::new(ErrorCode::Unavailable, "stopping")));
    let reply = cluster.ask(json!({"messages": messages})).await;
    assert_ne!(reply["secateur"]["decode_node"], pairs[0].1, "a node that fails is left");
}

#[tokio::test]
async fn a_refused_shipment_is_recomputed_and_its_bytes_and_reason_count() {
    for after_first in [false, true] {
        let cluster = Cluster::one().await;
        let spend = Act::Spend { bytes: 700, after_first, error: refused(), millis: 0 };
        cluster.prefill[0].script.then([spend]);
        cluster.decode[0].script.then([Act::Hang]);
        let reply = cluster.ask(json!({})).await;
        assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
        let receipt = &reply["secateur"];
        assert_eq!(receipt["attempts"], 2);
        assert_eq!(receipt["transfer"]["bytes_sent"], 1_700, "after the first token: {after_first}");
        assert_eq!(receipt["transfer"]["bytes_unpruned"], 2_000);
        assert_eq!(metric(&cluster, "secateur_kv_refused_total", "reason=\"digest_mismatch\"").await, 1.0);
        assert_eq!(metric(&cluster, "secateur_kv_refused_total", "reason=\"truncated\"").await, 0.0);
        assert_eq!(metric(&cluster, "secateur_kv_bytes_sent_total", "policy=\"dense\"").await, 1_700.0);
    }
}

#[tokio::test]
async fn a_shipment_that_is_refused_late_is_recomputed_on_the_same_nodes_if_there_are_no_others() {
    let cluster = Cluster::one().await;
    let spend = Act::Spend { bytes: 700, after_first: false, error: refused(), millis: 400 };
    cluster.prefill[0].script.then([spend]);
    cluster.decode[0].script.then([Act::Hang]);
    let reply = cluster.ask(json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
    assert_eq!(
        (&reply["secateur"]["attempts"], reply["secateur"]["transfer"]["bytes_sent"].as_u64()),
        (&json!(2), Some(1_700))
    );
}

#[tokio::test]
async fn bytes_of_a_request_without_an_answer_count() {
    let cluster = Cluster::one().await;
    let broken = ServiceError::new(ErrorCode::Internal, "broken");
    let spend = Act::Spend { bytes: 700, after_first: false, error: refused(), millis: 0 };
    let last = Act::Spend { bytes: 30, after_first: false, error: broken, millis: 0 };
    cluster.prefill[0].script.then([spend, last]);
    cluster.decode[0].script.then([Act::Hang, Act::Hang]);
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 500);
    assert_eq!(metric(&cluster, "secateur_kv_bytes_sent_total", "policy=\"dense\"").await, 730.0);
}

/// Whichever leg tells of a refusal first, its bytes count.
#[tokio::test]
async fn bytes_count_where_decode_fails_first() {
    for after_first in [false, true] {
        let cluster = Cluster::one().await;
        // Decode's error comes after 50 ms, and prefill's report must come within 100 ms of it.
        let spend = Act::Spend { bytes: 700, after_first, error: refused(), millis: 60 };
        cluster.prefill[0].script.then([spend]);
        cluster.decode[0].script.then([Act::Break(0, refused())]);
        let reply = cluster.ask(json!({})).await;
        assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
        assert_eq!(reply["secateur"]["attempts"], 2);
        assert_eq!(reply["secateur"]["transfer"]["bytes_sent"], 1_700, "with the first token: {after_first}");
        assert_eq!(metric(&cluster, "secateur_kv_refused_total", "digest_mismatch").await, 1.0);
    }
}
