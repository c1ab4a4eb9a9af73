//! Several answers to a request, and raw prompts.

use reqwest::Response;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};

use crate::support::{
    answer_tokens,
    nodes::Act,
    router::{Cluster, question, until},
};

async fn complete(cluster: &Cluster, body: Value) -> Response {
    cluster.client.post(cluster.url("/v1/completions")).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn choices_draw_with_seeds_of_their_own_and_share_the_prompt() {
    let cluster = Cluster::one().await;
    let reply = cluster.ask(json!({"n": 3, "seed": 7})).await;
    let choices = reply["choices"].as_array().unwrap();
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(choices.iter().all(|choice| choice["message"]["content"] == "hello world"));
    let requests = cluster.prefill[0].script.prefill_requests.lock().unwrap().clone();
    let mut seeds: Vec<u64> = requests.iter().map(|request| request.sampling.clone().unwrap().seed).collect();
    assert_eq!(seeds[0], 7, "the first leads");
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9]);
    let tokens = answer_tokens("hello world").len();
    assert_eq!(reply["usage"]["prompt_tokens"], requests[0].tokens.len());
    assert_eq!(reply["usage"]["completion_tokens"], 3 * (tokens - 1));
    assert_eq!(reply["secateur"]["transfer"]["bytes_sent"], 3_000);
    assert_eq!(reply["secateur"]["choices"].as_array().unwrap().len(), 3);
}

/// A prompt that is still on its way to decode would be sent once more for each of the others.
#[tokio::test]
async fn others_begin_when_decode_has_the_prompt() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Hang]);
    let mut stream = cluster.post(&question(json!({"n": 3, "stream": true}))).await;
    stream.chunk().await.unwrap().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(prompts(&cluster), 1);
}

fn prompts(cluster: &Cluster) -> usize {
    cluster.prefill[0].script.prefill_requests.lock().unwrap().len()
}

/// Where the first one is tried again, the token that prefill draws then says nothing of decode.
#[tokio::test]
async fn others_wait_for_a_replay_too() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Preempt(0), Act::Hang]);
    let mut stream = cluster.post(&question(json!({"n": 3, "stream": true}))).await;
    stream.chunk().await.unwrap().unwrap();
    until("it is tried again", async || prompts(&cluster) == 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(prompts(&cluster), 2);
}

#[tokio::test]
async fn others_go_on_beside_the_first() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Slow(100)]);
    let events = cluster.stream(json!({"n": 2})).await;
    let place = |index: u64, is_meant: &dyn Fn(&Value) -> bool| {
        let choice = |event: &Value| event["choices"][0].clone();
        let is_meant = |event: &Value| choice(event)["index"] == index && is_meant(&choice(event));
        events.iter().position(is_meant).unwrap()
    };
    let first_ends = place(0, &|choice| choice["finish_reason"] == "stop");
    let second_begins = place(1, &|choice| choice["delta"]["content"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(second_begins < first_ends, "{second_begins} {first_ends}");
}

#[tokio::test]
async fn a_choice_that_fails_fails_the_request_and_ends_the_others() {
    let cluster = Cluster::one().await;
    let error = ServiceError::new(ErrorCode::InvalidRequest, "no");
    cluster.decode[0].script.then([Act::Slow(200), Act::Break(1, error)]);
    let response = cluster.post(&question(json!({"n": 2}))).await;
    assert_eq!(response.status(), 400);
    until("both nodes are idle", async || {
        cluster.prefill[0].script.active() == 0 && cluster.decode[0].script.active() == 0
    })
    .await;
}

#[tokio::test]
async fn more_choices_than_may_run_wait_for_each_other() {
    let cluster = Cluster::start(1, 1, &["--max-concurrent", "1", "--max-waiting", "3"]).await;
    assert_eq!(cluster.ask(json!({"n": 4})).await["choices"].as_array().unwrap().len(), 4);
    let events = cluster.stream(json!({"n": 4})).await;
    let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"] == "stop").count();
    assert_eq!((ends, &events[events.len() - 1]), (4, &json!("[DONE]")));
    let response = cluster.post(&question(json!({"n": 5}))).await;
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["param"], "n");
}

#[tokio::test]
async fn raw_prompts_go_to_prefill_as_they_are() {
    let cluster = Cluster::one().await;
    let response = complete(&cluster, json!({"prompt": [[9, 10, 11], [12]], "max_tokens": 50})).await;
    assert_eq!(response.status(), 200);
    let reply: Value = response.json().await.unwrap();
    assert_eq!(reply["object"], "text_completion");
    assert_eq!(reply["choices"][1]["text"], "hello world");
    assert_eq!(reply["usage"]["prompt_tokens"], 4);
    let mut prompts: Vec<Vec<u32>> =
        cluster.prefill[0].script.prefill_requests.lock().unwrap().iter().map(|one| one.tokens.clone()).collect();
    prompts.sort();
    assert_eq!(prompts, [vec![9, 10, 11], vec![12]]);
}

#[tokio::test]
async fn a_prompt_is_echoed_and_a_picture_in_it_refused() {
    let cluster = Cluster::one().await;
    let response = complete(&cluster, json!({"prompt": "say: ", "echo": true})).await;
    let reply: Value = response.json().await.unwrap();
    assert_eq!(reply["choices"][0]["text"], "say: hello world");
    for (prompt, param) in [(json!([9, 3]), "prompt"), (json!(["a", "an <image>"]), "prompt[1]")] {
        let response = complete(&cluster, json!({"prompt": prompt})).await;
        assert_eq!(response.status(), 400);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["param"], param, "{body}");
    }
}
