//! The command `secateur up`: its answer, its message if it cannot start, and its end.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod folder;
mod found;
mod refused;
mod sample;
mod served;
mod stop;

use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

/// Runs `secateur up ARGUMENTS` to its end.
fn up(arguments: &[&str]) -> Output {
    run("up", arguments)
}

/// Runs `secateur COMMAND ARGUMENTS` to its end.
fn run(command: &str, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg(command).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_demo_answers_its_sample_with_a_receipt() {
    let output = up(&["--once", "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["answer"], document["expected"]);
    assert_eq!((&document["model"], &document["finish_reason"]), (&"secateur-demo".into(), &"stop".into()));
    let (visual, transfer) = (&document["receipt"]["visual"], &document["receipt"]["transfer"]);
    assert!(visual["tokens_after"].as_u64().unwrap() < visual["tokens_before"].as_u64().unwrap(), "{document}");
    let sent = transfer["bytes_sent"].as_u64().unwrap();
    let dense = transfer["bytes_dense"].as_u64().unwrap();
    assert_eq!(transfer["policy"], "tiered");
    assert!(sent > 0 && sent * 3 < dense, "{transfer}");
    assert!(transfer["bytes_unpruned"].as_u64().unwrap() > dense);
    assert!(document["urls"]["api"].as_str().unwrap().ends_with("/v1"));
}

#[test]
fn bad_usage_exits_with_2() {
    for flags in [["--prefill", "0"], ["--dtype", "f8"], ["--kv-memory", "lots"], ["--threads", "0"]] {
        let output = up(&flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(said(&output).contains(flags[0]), "{}", said(&output));
    }
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

#[test]
fn the_configuration_of_each_role_is_printed_before_any_is_started() {
    let flags = ["--print-config", "--model", "/m", "--prefill", "2", "--port", "4321", "--served-model-name", "mine"];
    let output = Command::new(PROGRAM).arg("up").args(flags).env("SECATEUR_MAX_RUNNING", "7").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let tables: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(tables, ["[router]", "[prefill]", "[decode]"]);
    for line in [
        "listen = \"127.0.0.1:4321\"  # flag",
        "served_model_name = \"mine\"  # flag",
        "max_running = 7  # environment",
        "model = \"/m\"  # flag",
        "queue_limit = 256  # default",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
}
