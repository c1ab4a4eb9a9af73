//! `secateur plan`, and clusters that run its plans.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{path::Path, process::Command};

use secateur_tests::{
    cluster::Nodes,
    suite::{self, demo},
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

/// Computes a plan quickly, from few cases with few steps.
fn plan(out: &Path, flags: &[&str]) -> Value {
    let fixed = ["--samples", "24", "--seeds", "1", "--steps", "4", "--kv-last-min", "8", "--json"];
    let output = Command::new(PROGRAM).arg("plan").arg("--out").arg(out).args(fixed).args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn body(policy: &str) -> Value {
    let case = suite::cases().unwrap().into_iter().find(|case| case.tags.contains(&"needle".to_owned())).unwrap();
    case.body(&json!({"visual": {"method": "none"}, "transfer": {"policy": policy}})).unwrap()
}

#[tokio::test]
async fn a_cluster_runs_its_plan_and_ships_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let made = plan(dir.path(), &["--prefill-remove", "2", "--decode-remove", "3", "--repair", "linear"]);
    assert_eq!(made["prefill_removed"].as_array().unwrap().len(), 2);
    assert_eq!(made["decode_removed"].as_array().unwrap().len(), 3);
    assert_eq!(made["repairs"].as_array().unwrap().len(), 5);
    assert!(made["bytes_ratio"].as_f64().unwrap() >= 4.95, "{made}");
    // The same seed gives the same plan, whether the search is resumed or starts from the beginning.
    let first = std::fs::read(dir.path().join("plan.json")).unwrap();
    let again = tempfile::tempdir().unwrap();
    plan(again.path(), &["--prefill-remove", "2", "--decode-remove", "3", "--repair", "linear"]);
    assert_eq!(std::fs::read(again.path().join("plan.json")).unwrap(), first);

    let flags = ["--plan", dir.path().to_str().unwrap()];
    // Lossless coding is off, so that bytes can be counted by hand.
    let prefill = [&flags[..], &["--lossless", "off"]].concat();
    let cluster = Nodes::start_with(PROGRAM, &demo(), &prefill, &flags).unwrap().route(None).await.unwrap();
    let mut sent = Vec::new();
    for policy in ["dense", "pdtrim"] {
        let (status, reply) = cluster.chat(&body(policy)).await.unwrap();
        assert!(status.is_success(), "{reply}");
        let (receipt, transfer) = (&reply["secateur"], &reply["secateur"]["transfer"]);
        assert_eq!((receipt["plan"].as_str().unwrap().len(), &transfer["policy"]), (32, &json!(policy)), "{receipt}");
        sent.push(transfer["bytes_sent"].as_f64().unwrap());
        // Of twelve blocks prefill runs ten, and nine are sent.
        let (dense, unpruned) =
            (transfer["bytes_dense"].as_f64().unwrap(), transfer["bytes_unpruned"].as_f64().unwrap());
        assert!((dense / unpruned - 10.0 / 12.0).abs() < 1e-6, "{transfer}");
        if policy == "dense" {
            assert!((sent[0] / dense / 0.9 - 1.0).abs() < 0.05, "{transfer}");
        }
    }
    assert!(sent[1] < sent[0] * 0.5, "{sent:?}");
}

#[tokio::test]
async fn nodes_of_different_plans_are_not_paired() {
    let dir = tempfile::tempdir().unwrap();
    plan(dir.path(), &["--decode-remove", "1", "--repair", "none", "--kv-ratio", "0"]);
    let flags = ["--plan", dir.path().to_str().unwrap()];
    let routed = tokio::time::timeout(
        std::time::Duration::from_secs(8),
        Nodes::start_with(PROGRAM, &demo(), &flags, &[]).unwrap().route(None),
    );
    assert!(routed.await.is_err(), "a cluster whose nodes disagree must not become ready");
}

#[test]
fn a_plan_of_another_checkpoint_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    plan(dir.path(), &["--decode-remove", "1", "--repair", "none", "--kv-ratio", "0"]);
    let file = dir.path().join("plan.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    document["model_fingerprint"] = json!("0000");
    std::fs::write(&file, document.to_string()).unwrap();
    let output = Command::new(PROGRAM)
        .args(["decode", "--dtype", "f32", "--model", demo().to_str().unwrap(), "--plan", dir.path().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("model_fingerprint"), "{said}");
}

#[test]
fn what_cannot_be_planned_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    for (flags, named) in [
        (["--prefill-remove", "3", "--decode-remove", "2"], "--decode-remove 2"),
        (["--prefill-remove", "11", "--decode-remove", "11"], "--prefill-remove 11"),
        (["--calibration", "/no/such.jsonl", "--seeds", "1"], "/no/such.jsonl"),
    ] {
        let output = Command::new(PROGRAM)
            .args(["plan", "--samples", "4", "--steps", "1", "--out"])
            .arg(dir.path())
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(named), "{flags:?}: {said}");
    }
}
