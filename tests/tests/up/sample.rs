//! The sample question, and checkpoints that cannot take it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use secateur_tests::{repository, suite::demo};
use serde_json::{Value, json};

use super::{folder, said, served::Up, up};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The demo with another chat template.
fn demo_with(template: &str, dir: &Path) -> PathBuf {
    let made = folder::link(&demo(), dir, &["chat_template.jinja"]);
    fs::write(made.join("chat_template.jinja"), template).unwrap();
    made
}

#[test]
fn a_snapshot_is_served_under_its_repositorys_name() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--acme--tiny-demo/snapshots/0123456789abcdef");
    let snapshot = folder::link(&demo(), &snapshot, &[]);
    let named = |flags: &[&str]| {
        let output = up(&[&["--once", "--json", "--model", text(&snapshot)][..], flags].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["model"].clone()
    };
    assert_eq!(named(&[]), "acme/tiny-demo");
    assert_eq!(named(&["--served-model-name", "mine"]), "mine");
}

#[test]
fn a_model_whose_template_takes_no_pictures_is_greeted() {
    let dir = tempfile::tempdir().unwrap();
    let own = fs::read_to_string(demo().join("chat_template.jinja")).unwrap();
    let raising = own.replace("{{- '<image>\\n' -}}", "{{- raise_exception('no pictures here') -}}");
    assert_ne!(own, raising);
    let model = demo_with(&raising, dir.path());
    let output = up(&["--once", "--json", "--model", text(&model)]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("no pictures here"), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["answer"].is_string() && document["expected"].is_null(), "{document}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_takes_no_sample_at_all_is_served_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let model = demo_with("{{ raise_exception('not in the mood') }}", dir.path());
    let output = up(&["--once", "--json", "--model", text(&model)]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(said(&output).contains("not in the mood"), "{}", said(&output));
    let mut up = Up::start(&["--model", text(&model), "--served-model-name", "mine"]);
    assert!(up.document["answer"].is_null() && up.document["model"] == "mine", "{}", up.document);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/v1/completions", up.base());
    let body = json!({"prompt": "A large", "max_tokens": 2, "model": "mine"});
    assert!(client.post(url).json(&body).send().await.unwrap().status().is_success(), "{}", up.said());
    up.terminate();
    assert_eq!(up.ended().code(), Some(0));
}

#[test]
fn an_answer_that_was_cut_at_its_cap_says_so() {
    // Random weights seldom end a sentence.
    let dir = tempfile::tempdir().unwrap();
    let model = folder::link(&repository("tests/fixtures/families/qwen3"), dir.path(), &["chat_template.jinja"]);
    let template = "{%- for message in messages -%}{{- message.content -}}{%- endfor -%}";
    fs::write(model.join("chat_template.jinja"), template).unwrap();
    let flags = ["--once", "--model", text(&model)];
    let output = up(&flags);
    assert!(output.status.success(), "{}", said(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("cut at the sample's cap of 64 tokens"), "{printed}");
    assert!(!printed.contains("visual tokens"), "a text model has no pictures: {printed}");
    let output = up(&[&flags[..], &["--json"]].concat());
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["finish_reason"], "length");
}
