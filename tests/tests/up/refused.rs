//! Clusters that cannot be started: one clear line, nothing on standard output, and an exit status.

use std::{fs, net::TcpListener, path::Path, process::Output};

use secateur_tests::{repository, suite::demo};
use serde_json::Value;

use super::{folder, run, said, up};

/// The single line on standard error of a command that must have ended with this status and printed nothing.
fn line(output: &Output, status: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("error: ") && !lines[0].contains("os error"), "{said}");
    lines[0].to_owned()
}

fn holds(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_no_checkpoint_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (notes, gguf, empty) = (dir.path().join("notes.txt"), dir.path().join("model.gguf"), dir.path().join("empty"));
    fs::write(&notes, "buy milk").unwrap();
    fs::write(&gguf, b"GGUF\x03\0\0\0").unwrap();
    fs::create_dir(&empty).unwrap();
    let of = |model: &str| line(&up(&["--model", model]), 2);
    holds(&of("/no/such/folder"), &["/no/such/folder is not there", "config.json"]);
    holds(&of(text(&notes)), &[text(&notes), "is a file", "give the folder"]);
    holds(&of(text(&gguf)), &[text(&gguf), "GGUF"]);
    holds(&of(text(&empty)), &["has no config.json"]);
    holds(&of("Qwen/Qwen2.5-0.5B-Instruct"), &["hf download Qwen/Qwen2.5-0.5B-Instruct", "downloads no models"]);
    for command in ["bench", "eval"] {
        holds(&line(&run(command, &["--model", text(&notes)]), 2), &["is a file"]);
    }
}

#[test]
fn a_missing_shard_is_named_once_and_in_words() {
    let (dir, shard) = (tempfile::tempdir().unwrap(), "model-00002-of-00003.safetensors");
    let partial = folder::link(&repository("tests/fixtures/families/llama-linear"), dir.path(), &[shard]);
    let line = line(&up(&["--model", text(&partial)]), 2);
    holds(&line, &["lacks 1 of the files", "the download was not finished"]);
    assert_eq!(line.matches(shard).count(), 1, "{line}");
    // A node by itself also reports it in one sentence, and does not claim to listen before.
    let output = run("prefill", &["--model", text(&partial)]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = said(&output);
    assert!(said.contains(&format!("{shard} is not there")) && said.matches(shard).count() == 1, "{said}");
    assert!(!said.contains("os error"), "{said}");
}

#[test]
fn a_plan_that_is_none_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    holds(&line(&up(&["--plan", text(dir.path())]), 2), &["plan.json is not there", "secateur plan"]);
}

#[test]
fn a_busy_port_is_told_with_the_flag_that_takes_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = line(&up(&["--port", &port]), 1);
    holds(&line, &[&format!("127.0.0.1:{port}"), "in use", "secateur up --port N"]);
}

#[test]
fn no_role_says_that_it_listens_before_it_fails() {
    let model = demo();
    let nodes = ["--prefill", "127.0.0.1:1", "--decode", "127.0.0.1:2", "--listen", "127.0.0.1:0"];
    let router = run("router", &[&["--model", "/no/such/folder"][..], &nodes].concat());
    holds(&line(&router, 2), &["/no/such/folder/tokenizer.json is not there"]);
    let cases: [(&str, &[&str]); 3] = [
        ("prefill", &["--model", "/no/such/folder"]),
        ("decode", &["--model", text(&model), "--plan", "/no/such/plan"]),
        ("decode", &["--model", text(&model), "--device", "cuda"]),
    ];
    for (role, flags) in cases {
        let output = run(role, flags);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{role} {flags:?}: {}", said(&output));
    }
}

#[test]
fn figures_without_an_answer_are_no_success_in_json_either() {
    let model = demo();
    let nodes = ["--prefill", "127.0.0.1:1", "--decode", "127.0.0.1:2"];
    let flags = [&["router", "--model", text(&model)][..], &nodes].concat();
    let router = secateur_tests::role::Role::start(super::PROGRAM, &flags).unwrap();
    let url = format!("http://{}", router.address);
    let output = run("bench", &["--url", &url, "--requests", "2", "--warmup", "0", "--concurrency", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["rows"][0]["failed"], 2);
    assert!(document["error"].as_str().unwrap().contains("every request"), "{document}");
}
