//! Nodes whose checkpoints differ in any byte are never paired.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use secateur_tests::{role::Role, suite::demo};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const WEIGHTS: &str = "model.safetensors";

/// A copy of the demo checkpoint with one bit changed in the middle of its weights.
fn with_another_bit() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(demo()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let path = dir.path().join(WEIGHTS);
    let mut weights = std::fs::read(&path).unwrap();
    let middle = weights.len() / 2;
    weights[middle] ^= 1;
    std::fs::write(&path, weights).unwrap();
    dir
}

fn node(role: &str, model: &Path) -> Role {
    Role::start(PROGRAM, &[role, "--model", model.to_str().unwrap(), "--dtype", "f32"]).unwrap()
}

/// The router's view once both nodes have answered it.
async fn shown(router: &Role) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(60), "the nodes did not come up");
        if let Ok(answer) = client.get(format!("http://{}/v1/cluster", router.address)).send().await
            && let Ok(cluster) = answer.json::<Value>().await
            && cluster["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "up").count() == 2
        {
            return cluster;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nodes_whose_weights_differ_in_one_bit_are_not_paired() {
    let other = with_another_bit();
    let (prefill, decode) = (node("prefill", &demo()), node("decode", other.path()));
    let (p, d) = (prefill.address.to_string(), decode.address.to_string());
    let model = demo();
    let router =
        Role::start(PROGRAM, &["router", "--model", model.to_str().unwrap(), "--prefill", &p, "--decode", &d]).unwrap();
    let cluster = shown(&router).await;
    let fingerprint = |at: usize| cluster["nodes"][at]["node"]["model_fingerprint"].as_str().unwrap().to_owned();
    assert_ne!(fingerprint(0), fingerprint(1));
    assert_eq!(cluster["ready"], false, "{cluster}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("http://{}/v1/chat/completions", router.address))
        .json(&serde_json::json!({"messages": [{"role": "user", "content": "What is two plus two?"}]}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
}
