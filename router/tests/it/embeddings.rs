//! Vectors of texts: their shapes, the node that makes them, and what is refused.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secateur_proto::{ErrorCode, ServiceError, v1::Pooling};
use serde_json::{Value, json};

use crate::support::{answer_tokens, nodes::Act, router::Cluster};

async fn embed(cluster: &Cluster, body: Value) -> (u16, Value) {
    let response = cluster.client.post(cluster.url("/v1/embeddings")).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn embedded(cluster: &Cluster, body: Value) -> Value {
    let (status, reply) = embed(cluster, body).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

#[tokio::test]
async fn texts_become_vectors_in_order_and_ship_nothing() {
    let cluster = Cluster::one().await;
    let body = json!({"model": "tiny", "input": [[0, 4], "hello world"], "normalize": false});
    let reply = embedded(&cluster, body).await;
    let words = answer_tokens("hello world").len();
    let vector = |index: usize| &reply["data"][index];
    assert_eq!(vector(0), &json!({"object": "embedding", "index": 0, "embedding": [2.0, 0.0, 0.0]}));
    assert_eq!(vector(1)["embedding"], json!([words as f64, 0.0, 0.0]), "the text begins with a token of its own");
    assert_eq!((&reply["object"], &reply["model"]), (&json!("list"), &json!("tiny")));
    assert_eq!(reply["usage"], json!({"prompt_tokens": 2 + words, "total_tokens": 2 + words}));
    assert_eq!(cluster.decode[0].script.calls(), 0);
    let plain = json!({"input": "hello world", "add_special_tokens": false, "normalize": false});
    assert_eq!(embedded(&cluster, plain).await["data"][0]["embedding"][0], json!((words - 1) as f64));
}

#[tokio::test]
async fn vectors_have_length_one_unless_told_otherwise_and_may_be_base64() {
    let cluster = Cluster::one().await;
    let ids = [4, 5, 6];
    let reply = embedded(&cluster, json!({"input": ids, "encoding_format": "base64", "dimensions": 3})).await;
    let bytes = STANDARD.decode(reply["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f32> = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.6, 0.8, 0.0], "3 and 4 have length 5");
    let asked = |at: usize| cluster.prefill[0].script.embed_requests.lock().unwrap()[at].pooling();
    assert_eq!(asked(0), Pooling::Last);
    embedded(&cluster, json!({"input": ids, "secateur": {"pooling": "mean"}})).await;
    assert_eq!(asked(1), Pooling::Mean);
}

#[tokio::test]
async fn many_texts_keep_their_order() {
    let cluster = Cluster::start(2, 1, &[]).await;
    cluster.until_all_up().await;
    let inputs: Vec<Vec<u32>> = (0..60).map(|at| vec![10 + at; 1 + at as usize % 7]).collect();
    let reply = embedded(&cluster, json!({"input": inputs, "normalize": false})).await;
    for (at, input) in inputs.iter().enumerate() {
        let expected = json!([input.len() as f64, f64::from(input[0]), 0.0]);
        assert_eq!((&reply["data"][at]["index"], &reply["data"][at]["embedding"]), (&json!(at), &expected));
    }
    let counts: Vec<usize> =
        cluster.prefill.iter().map(|node| node.script.embed_requests.lock().unwrap().len()).collect();
    assert!(counts.iter().sum::<usize>() == 60 && counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn another_node_takes_over_where_one_fails() {
    let cluster = Cluster::start(2, 1, &[]).await;
    cluster.until_all_up().await;
    for act in [
        Act::Refuse(ServiceError::new(ErrorCode::Unavailable, "stopping")),
        Act::Bare(tonic::Code::Internal),
        Act::Bare(tonic::Code::Unimplemented),
    ] {
        cluster.prefill[0].script.set(act.clone());
        for _ in 0..3 {
            embedded(&cluster, json!({"input": "hello"})).await;
        }
        cluster.prefill[1].script.set(act);
        let (status, reply) = embed(&cluster, json!({"input": "hello"})).await;
        assert_eq!(status, 503, "{reply}");
        cluster.prefill.iter().for_each(|node| node.script.set(Act::Answer));
    }
    cluster.prefill.iter().for_each(|node| node.script.set(Act::Unscored));
    assert_eq!(embed(&cluster, json!({"input": "hello"})).await.0, 500, "no vector at all");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work() {
    let cluster = Cluster::one().await;
    cluster.prefill[0].script.set(Act::Hang);
    let asking = cluster.client.post(cluster.url("/v1/embeddings")).json(&json!({"input": "hello"})).send();
    let asking = tokio::spawn(asking);
    crate::support::router::until("it is asked", async || cluster.prefill[0].script.active() == 1).await;
    asking.abort();
    crate::support::router::until("it is let go", async || cluster.prefill[0].script.active() == 0).await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let cluster = Cluster::one().await;
    for (body, param, code) in [
        (json!({"input": "a", "dimensions": 2}), json!("dimensions"), "unsupported_parameter"),
        (json!({"input": ["a", vec![7; 600]]}), json!("input[1]"), "context_length_exceeded"),
        (json!({"input": [[0], [3]]}), json!("input[1]"), "invalid_request"),
        (json!({"input": "a", "messages": []}), json!("messages"), "unsupported_parameter"),
        (json!({}), json!("input"), "invalid_request"),
    ] {
        let (status, reply) = embed(&cluster, body.clone()).await;
        let error = &reply["error"];
        assert_eq!((status, &error["param"], &error["code"]), (400, &param, &json!(code)), "{body}: {reply}");
    }
    assert_eq!(embed(&cluster, json!({"input": "a", "model": "other"})).await.0, 404);
}

#[tokio::test]
async fn scoring_routes_say_that_there_is_no_scoring_head() {
    let cluster = Cluster::one().await;
    for path in ["/v1/score", "/rerank", "/v1/rerank"] {
        let body = json!({"query": "a", "documents": ["b"]});
        let response = cluster.client.post(cluster.url(path)).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 400);
        let reply: Value = response.json().await.unwrap();
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains("no scoring head") && message.contains(path), "{message}");
    }
}
