//! Later turns of a conversation: decode holds the KV of earlier turns, so only the new part is shipped, and answers do
//! not change.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use secateur_tests::{
    cluster::{Cluster, Nodes},
    suite,
};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

/// Positions that decode already held, bytes sent, and the text of one turn.
struct Turn {
    held: u64,
    sent: u64,
    text: String,
}

async fn turn(cluster: &Cluster, messages: &Value, policy: &str) -> Turn {
    let body = json!({
        "messages": messages, "max_tokens": 32, "temperature": 0,
        "secateur": {"visual": {"method": "none"}, "transfer": {"policy": policy}},
    });
    let (status, reply) = cluster.chat(&body).await.unwrap();
    assert!(status.is_success(), "{reply}");
    let transfer = &reply["secateur"]["transfer"];
    Turn {
        held: transfer["positions_held"].as_u64().unwrap(),
        sent: transfer["bytes_sent"].as_u64().unwrap(),
        text: reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
    }
}

/// A picture question, its answer, and another question about the picture.
async fn conversation(cluster: &Cluster, policy: &str) -> [Turn; 2] {
    let cases = suite::cases().unwrap();
    let case = cases.iter().find(|case| case.images.len() == 1).unwrap();
    let body = case.body(&suite::exact()).unwrap();
    let mut messages = body["messages"].clone();
    let first = turn(cluster, &messages, policy).await;
    let list = messages.as_array_mut().unwrap();
    list.push(json!({"role": "assistant", "content": first.text}));
    list.push(json!({"role": "user", "content": "How many objects are there?"}));
    let second = turn(cluster, &messages, policy).await;
    [first, second]
}

#[tokio::test]
async fn only_what_is_new_is_shipped_and_answers_stay_the_same() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &[], &["--keep-finished", "off"]).unwrap();
    let forgetful = nodes.route(None).await.unwrap();
    for policy in ["dense", "tiered"] {
        let [first, second] = conversation(&cluster, policy).await;
        let [first_whole, second_whole] = conversation(&forgetful, policy).await;
        assert_eq!((first.held, first_whole.held, second_whole.held), (0, 0, 0), "{policy}");
        // The picture's 144 tokens are part of the first turn.
        assert!(second.held >= 144 && second.held % 16 == 0, "{policy}: {}", second.held);
        assert!(second.sent * 3 < second_whole.sent, "{policy}: {} of {}", second.sent, second_whole.sent);
        assert_eq!(first.text, first_whole.text, "{policy}");
        if policy == "dense" {
            assert_eq!(second.text, second_whole.text);
        }
    }
}

/// The prompt of several choices is shipped once, and each choice equals the answer that it would be alone.
#[tokio::test]
async fn choices_share_the_prompt_that_was_shipped_for_the_first() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let cases = suite::cases().unwrap();
    let case = cases.iter().find(|case| case.images.len() == 1).unwrap();
    let mut body = case.body(&suite::exact()).unwrap();
    let several = async |n: u32, body: &mut Value| {
        body["n"] = json!(n);
        let (status, reply) = cluster.chat(body).await.unwrap();
        assert!(status.is_success(), "{reply}");
        reply
    };
    let three = several(3, &mut body).await;
    let sent: Vec<u64> =
        (0..3).map(|index| three["secateur"]["choices"][index]["transfer"]["bytes_sent"].as_u64().unwrap()).collect();
    assert!(sent[1] * 5 < sent[0] && sent[2] * 5 < sent[0], "{sent:?}");
    let held = three["secateur"]["choices"][1]["transfer"]["positions_held"].as_u64().unwrap();
    assert!(held >= 144, "{held}");
    let alone = several(1, &mut body).await;
    for index in 0..3 {
        assert_eq!(three["choices"][index]["message"], alone["choices"][0]["message"], "greedy");
    }
}

#[tokio::test]
async fn what_is_kept_gives_way_to_what_comes() {
    // Memory for only a few prompts with a picture.
    let decode = ["--kv-memory", "3MiB"];
    let cluster = Nodes::start_with(PROGRAM, &suite::demo(), &[], &decode).unwrap().route(None).await.unwrap();
    let cases = suite::cases().unwrap();
    for case in cases.iter().filter(|case| case.images.len() == 1).take(30) {
        let (status, reply) = cluster.chat(&case.body(&suite::exact()).unwrap()).await.unwrap();
        assert!(status.is_success(), "{reply}");
    }
}
