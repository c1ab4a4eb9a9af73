//! A GGUF file through real processes over HTTP: the cluster's answers, with dense transfer, equal the greedy tokens of
//! transformers with the same file, dequantised (`tests/fixtures/gguf/make.py`).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

#[path = "../fixtures/expected.rs"]
mod expected;

use expected::Expected;
use secateur_tests::{cluster::Nodes, repository};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_served_as_transformers_computes_it() {
    let models = repository("tests/fixtures/gguf/models");
    let expected = Expected::open(&models.join("llama-q4_0.safetensors"));
    let cluster = Nodes::start(PROGRAM, &models.join("llama-q4_0.gguf")).unwrap().route(None).await.unwrap();
    let dense = json!({"transfer": {"policy": "dense"}});
    let greedy = expected.tokens("greedy");
    let body = json!({
        "prompt": expected.tokens("prompt"), "temperature": 0, "max_tokens": greedy.len(), "secateur": dense,
    });
    let reply = cluster.client().post(cluster.url("/v1/completions")).json(&body).send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    assert_eq!(reply["choices"][0]["text"], expected.note("text"), "{reply}");
    assert_eq!((&reply["model"], &reply["usage"]["completion_tokens"]), (&json!("llama-q4_0"), &json!(greedy.len())));

    // The file's chat template opens and closes each turn with a token.
    let chat = json!({"messages": [{"role": "user", "content": "2 + 2"}], "max_tokens": 4, "secateur": dense});
    let (status, reply) = cluster.chat(&chat).await.unwrap();
    assert!(status.is_success(), "{reply}");
    let found = cluster.client().post(cluster.url("/tokenize")).json(&chat_only(&chat)).send().await.unwrap();
    let found: Value = found.json().await.unwrap();
    assert_eq!(found["tokens"][0], 1, "<|im_start|> comes first: {found}");
    assert_eq!(found["count"], reply["usage"]["prompt_tokens"], "{found}");
}

fn chat_only(chat: &Value) -> Value {
    json!({"messages": chat["messages"]})
}
