//! The one command: `secateur up --once --json`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

fn up(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("up").args(arguments).output().unwrap()
}

#[test]
fn the_demo_answers_its_sample_with_a_receipt() {
    let output = up(&["--once", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["answer"], document["expected"]);
    assert_eq!(document["model"], "secateur-demo");
    let (visual, transfer) = (&document["receipt"]["visual"], &document["receipt"]["transfer"]);
    assert!(visual["tokens_after"].as_u64().unwrap() < visual["tokens_before"].as_u64().unwrap(), "{document}");
    let sent = transfer["bytes_sent"].as_u64().unwrap();
    let dense = transfer["bytes_dense"].as_u64().unwrap();
    assert_eq!(transfer["policy"], "tiered");
    assert!(sent > 0 && sent * 4 < dense, "{transfer}");
    assert!(transfer["bytes_unpruned"].as_u64().unwrap() > dense);
    assert!(document["urls"]["api"].as_str().unwrap().ends_with("/v1"));
}

#[test]
fn a_folder_that_is_no_checkpoint_fails_with_a_sentence() {
    let output = up(&["--once", "--model", "/no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/no/such/folder"), "{said}");
}

#[test]
fn bad_usage_exits_with_2() {
    assert_eq!(up(&["--prefill", "0"]).status.code(), Some(2));
    let decode = Command::new(PROGRAM).args(["decode", "--kv-memory", "lots", "--model", "x"]).output().unwrap();
    assert_eq!(decode.status.code(), Some(2));
}

#[test]
fn the_effective_configuration_is_printed_with_its_sources() {
    let output = Command::new(PROGRAM)
        .args(["prefill", "--model", "/m", "--print-config"])
        .env("SECATEUR_QUEUE_LIMIT", "7")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("queue_limit = 7  # environment"), "{text}");
    assert!(text.contains("model = \"/m\"  # flag"), "{text}");
}
