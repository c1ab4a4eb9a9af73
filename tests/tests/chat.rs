//! The command `secateur chat`, as a script uses it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use secateur_tests::{cluster::Cluster, suite};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

/// Runs `secateur chat FLAGS` with these lines as its input.
fn chat(flags: &[&str], lines: &str) -> Output {
    let mut process = Command::new(PROGRAM)
        .arg("chat")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_script_holds_a_conversation_about_a_picture() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let (url, picture) = (cluster.url(""), suite::demo().join("sample.png"));
    let picture = picture.to_str().unwrap();
    let flags = ["--url", &url, "--temperature", "0", "--max-tokens", "32", "--visual", "none", "--transfer", "dense"];
    let with_picture = [&flags[..], &["--image", picture]].concat();
    let lines = "What is in the picture?\nHow many objects are there?\n/quit\nnot sent\n";

    let output = chat(&[&with_picture[..], &["--json"]].concat(), lines);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let documents: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((documents.len(), &documents[1]["user"]), (2, &"How many objects are there?".into()));
    assert_eq!(documents[0]["receipt"]["visual"]["tokens_after"], 144);
    // The second turn was sent with the first one, whose KV decode has.
    assert!(documents[1]["receipt"]["transfer"]["positions_held"].as_u64().unwrap() >= 144, "{}", documents[1]);

    // The same again as plain text: greedy answers are the same, and alone on standard output.
    let output = chat(&with_picture, lines);
    let answers: String =
        documents.iter().map(|document| format!("{}\n", document["assistant"].as_str().unwrap())).collect();
    assert_eq!(text(&output.stdout), answers, "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).matches("dense and unpruned").count(), 2, "{}", text(&output.stderr));

    // A refusal names the field, and later messages are answered.
    let output = chat(&[&flags[..], &["--model", "another"]].concat(), "Hello.\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("(param: model)"), "{}", text(&output.stderr));
}

#[test]
fn a_picture_that_cannot_be_sent_is_named_before_anything_is_sent() {
    for flags in [&["--image", "no.png"][..], &["--image", env!("CARGO_MANIFEST_DIR")]] {
        let output = chat(&[&["--url", "http://127.0.0.1:1"][..], flags].concat(), "");
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(text(&output.stderr).contains(flags[1]), "{}", text(&output.stderr));
    }
}
