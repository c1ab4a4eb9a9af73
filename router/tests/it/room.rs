//! Nodes with KV pools of different sizes: a request goes where it fits, and is refused only if it fits nowhere.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::router::{Cluster, question, until};

/// `d0` holds 100 positions, `d1` the 512 of every other node.
async fn uneven() -> Cluster {
    let cluster = Cluster::start(1, 2, &[]).await;
    cluster.decode[0].script.description.lock().unwrap().max_positions = 100;
    until("both decode nodes are up and the small one is known to be", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        let limits = view["nodes"].as_array().unwrap().iter().map(|node| node["node"]["max_positions"].as_u64());
        limits.eq([Some(512), Some(100), Some(512)])
    })
    .await;
    cluster
}

/// The decode nodes that answered several of the same question.
async fn answered_by(cluster: &Cluster, fields: &Value) -> BTreeSet<String> {
    let mut nodes = BTreeSet::new();
    for _ in 0..6 {
        let reply = cluster.ask(fields.clone()).await;
        nodes.insert(reply["secateur"]["decode_node"].as_str().unwrap().to_owned());
    }
    nodes
}

fn long(characters: usize) -> Value {
    json!({"messages": [{"role": "user", "content": "x".repeat(characters)}]})
}

#[tokio::test]
async fn a_request_goes_to_a_pair_that_it_fits() {
    let cluster = uneven().await;
    assert_eq!(answered_by(&cluster, &json!({})).await.len(), 2, "what fits both is spread over both");
    assert_eq!(answered_by(&cluster, &long(200)).await, BTreeSet::from(["d1".to_owned()]));
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert!(request.tokens.len() > 100, "{} tokens test nothing", request.tokens.len());
    assert_eq!(answered_by(&cluster, &json!({"max_tokens": 300})).await, BTreeSet::from(["d1".to_owned()]));
}

#[tokio::test]
async fn what_fits_no_pair_is_told_the_largest_limit() {
    let cluster = uneven().await;
    for body in [question(long(600)), question(json!({"max_tokens": 513}))] {
        for _ in 0..3 {
            let response = cluster.post(&body).await;
            assert_eq!(response.status(), 400);
            let reply: Value = response.json().await.unwrap();
            let message = reply["error"]["message"].as_str().unwrap();
            assert!(message.contains("maximum context length is 512 tokens"), "{message}");
        }
    }
    assert_eq!(cluster.decode[0].script.calls() + cluster.decode[1].script.calls(), 0);
}
