//! Log probabilities: of every token of the text, with it, whole or streamed.

use serde_json::{Value, json};

use crate::support::{
    answer_tokens,
    nodes::Act,
    router::{Cluster, joined, question},
};

async fn answering(text: &str) -> Cluster {
    let cluster = Cluster::one().await;
    cluster.prefill[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.answer(answer_tokens(text));
    cluster
}

fn entries(reply: &Value) -> Vec<Value> {
    reply["choices"][0]["logprobs"]["content"].as_array().unwrap().clone()
}

fn streamed(events: &[Value]) -> Vec<Value> {
    let content = |event: &Value| event["choices"][0]["logprobs"]["content"].as_array().cloned();
    events.iter().filter_map(content).flatten().collect()
}

fn bytes(entries: &[Value]) -> Vec<u8> {
    let bytes = entries.iter().flat_map(|entry| entry["bytes"].as_array().unwrap());
    bytes.map(|byte| byte.as_u64().unwrap() as u8).collect()
}

#[tokio::test]
async fn every_token_of_the_text_has_one() {
    let text = "hello 你 world";
    let cluster = answering(text).await;
    let asked = json!({"logprobs": true, "top_logprobs": 2});
    let whole = entries(&cluster.ask(asked.clone()).await);
    assert_eq!(whole.len(), answer_tokens(text).len() - 1, "the end token is no text");
    assert_eq!(bytes(&whole), text.as_bytes());
    let keys = |entry: &Value| entry.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&whole[0]), ["token", "logprob", "bytes", "top_logprobs"]);
    assert_eq!((&whole[0]["token"], &whole[0]["logprob"]), (&json!("hello"), &json!(-0.0)));
    assert_eq!(whole[3]["logprob"], -0.375);
    assert_eq!(whole[3]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(whole[3]["top_logprobs"][0]["bytes"], whole[3]["bytes"]);
    assert_eq!(whole[3]["top_logprobs"][1]["logprob"], -1.375);

    let events = cluster.stream(asked).await;
    assert_eq!(joined(&events), text);
    assert_eq!(streamed(&events), whole);
    for event in &events {
        let content = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        let own = streamed(std::slice::from_ref(event));
        assert_eq!(bytes(&own), content.as_bytes(), "entries come with their text: {event}");
    }
}

#[tokio::test]
async fn null_where_they_are_not_asked_for() {
    let cluster = answering("hello world").await;
    assert_eq!(cluster.ask(json!({})).await["choices"][0].get("logprobs"), Some(&Value::Null));
    let events = cluster.stream(json!({"logprobs": false})).await;
    let mut choices = events.iter().filter(|event| event["choices"][0].is_object());
    assert!(choices.all(|event| event["choices"][0].get("logprobs") == Some(&Value::Null)));
    let bare = entries(&cluster.ask(json!({"logprobs": true})).await);
    assert_eq!(bare[0]["top_logprobs"], json!([]));
}

#[tokio::test]
async fn what_a_stop_text_takes_away_takes_its_own_along() {
    let cluster = answering("hello world").await;
    for (stop, shown) in [("world", "hello"), ("hello", ""), ("worldly", "hello world")] {
        let asked = json!({"logprobs": true, "stop": stop});
        let reply = cluster.ask(asked.clone()).await;
        let events = cluster.stream(asked).await;
        assert_eq!(streamed(&events), entries(&reply), "{stop}");
        // The token " w" is out in part: its space is.
        let expected = if stop == "world" { "hello w" } else { shown };
        assert_eq!(bytes(&entries(&reply)), expected.as_bytes(), "{stop}");
        let text = reply["choices"][0]["message"]["content"].as_str().unwrap();
        assert_eq!(text.trim_end(), shown, "{stop}");
    }
}

#[tokio::test]
async fn they_go_on_through_a_replay() {
    let cluster = answering("hello world, hello").await;
    let asked = json!({"logprobs": true, "top_logprobs": 1});
    let whole = entries(&cluster.ask(asked.clone()).await);
    cluster.decode[0].script.then([Act::Preempt(2), Act::Preempt(1)]);
    assert_eq!(streamed(&cluster.stream(asked).await), whole);
}

#[tokio::test]
async fn a_node_that_leaves_them_out_is_no_answer() {
    let cluster = answering("hello world").await;
    cluster.decode[0].script.set(Act::Unscored);
    assert_eq!(cluster.post(&question(json!({"logprobs": true}))).await.status(), 500);
    cluster.ask(json!({})).await;
}

#[tokio::test]
async fn offsets_count_a_character_of_several_tokens_once() {
    // The tokens of three bytes, `a`, the space, and two bytes.
    let cluster = answering("你a é").await;
    let body = json!({"prompt": "hello", "logprobs": 0});
    let reply: Value = cluster.post_to("/v1/completions", &body).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["logprobs"]["text_offset"], json!([0, 1, 1, 1, 2, 3, 4]));
}
