//! Scores of prompts: beside the answer in `logprobs` where the prompt is returned, or in vLLM's `prompt_logprobs`.

use serde_json::{Value, json};

use crate::support::{
    END_TOKEN, IMAGE_TOKEN, PNG, answer_tokens,
    nodes::Act,
    router::{Cluster, question},
};

async fn complete(cluster: &Cluster, body: Value) -> (u16, Value) {
    let response = cluster.client.post(cluster.url("/v1/completions")).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn completed(cluster: &Cluster, body: Value) -> Value {
    let (status, reply) = complete(cluster, body).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

/// Tokens of a raw prompt: the one that begins a sequence, and those of the text.
fn prompt_tokens(text: &str) -> Vec<u32> {
    let mut tokens = vec![0];
    tokens.extend(answer_tokens(text));
    tokens.pop();
    tokens
}

fn list<'a>(choice: &'a Value, name: &str) -> &'a Vec<Value> {
    choice["logprobs"][name].as_array().unwrap()
}

fn asked(cluster: &Cluster) -> Vec<Option<u32>> {
    let requests = cluster.prefill.iter().flat_map(|node| node.script.prefill_requests.lock().unwrap().clone());
    requests.map(|request| request.score_top).collect()
}

#[tokio::test]
async fn a_prompt_alone_is_scored_and_nothing_is_generated() {
    let cluster = Cluster::one().await;
    let body = json!({"prompt": "hello world", "echo": true, "logprobs": 2, "max_tokens": 0});
    let reply = completed(&cluster, body).await;
    let (choice, count) = (&reply["choices"][0], prompt_tokens("hello world").len());
    assert_eq!((&choice["text"], &choice["finish_reason"]), (&json!("hello world"), &json!("length")));
    assert_eq!((&reply["usage"]["completion_tokens"], &reply["usage"]["prompt_tokens"]), (&json!(0), &json!(count)));
    let logprobs: Vec<Value> =
        (0..count).map(|at| if at == 0 { Value::Null } else { json!(at as f64 / -4.0) }).collect();
    assert_eq!(list(choice, "token_logprobs"), &logprobs);
    let top = list(choice, "top_logprobs");
    assert_eq!((&top[0], &top[1]), (&Value::Null, &json!({"a": -0.125, "b": -0.25, "hello": -0.25})));
    let tokens: Vec<&str> = list(choice, "tokens").iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!((tokens[0], tokens[1..].concat().as_str()), ("<s>", "hello world"));
    let offsets: Vec<u64> = list(choice, "text_offset").iter().map(|offset| offset.as_u64().unwrap()).collect();
    assert_eq!(offsets[..3], [0, 0, 5]);
    for (token, offset) in tokens.iter().zip(&offsets).skip(1) {
        assert!("hello world"[*offset as usize..].starts_with(token), "{token} at {offset}");
    }
    assert_eq!((asked(&cluster), cluster.decode[0].script.calls()), (vec![Some(2)], 0));
    // Without log probabilities there is nothing to score.
    let plain = completed(&cluster, json!({"prompt": "hello", "echo": true, "max_tokens": 0})).await;
    assert_eq!((&plain["choices"][0]["text"], &plain["choices"][0]["logprobs"]), (&json!("hello"), &Value::Null));
    assert_eq!(asked(&cluster), [Some(2), None]);
}

#[tokio::test]
async fn the_lists_of_a_returned_prompt_go_on_with_its_answer() {
    let cluster = Cluster::one().await;
    let body = json!({"prompt": ["hello", [0, 104]], "echo": true, "logprobs": 0, "max_tokens": 3});
    let reply = completed(&cluster, body).await;
    for (index, prompt) in [prompt_tokens("hello"), vec![0, 104]].iter().enumerate() {
        let choice = &reply["choices"][index];
        let text = choice["text"].as_str().unwrap();
        let tokens: Vec<&str> = list(choice, "tokens").iter().map(|token| token.as_str().unwrap()).collect();
        assert_eq!(tokens.len(), prompt.len() + 3);
        assert_eq!(tokens[1..].concat(), text, "the first token has no text of its own");
        let logprobs = list(choice, "token_logprobs");
        assert_eq!(logprobs[prompt.len() - 1], json!((prompt.len() - 1) as f64 / -4.0));
        assert_eq!(logprobs[prompt.len()..], [json!(-0.0), json!(-0.125), json!(-0.25)]);
        let offsets = list(choice, "text_offset");
        let prompts_end = tokens[1..prompt.len()].concat().len();
        assert_eq!(offsets[prompt.len()], json!(prompts_end));
        assert!(list(choice, "top_logprobs")[1..].iter().all(|top| top.as_object().unwrap().len() == 1));
    }
}

/// lm-evaluation-harness asks for one token, and takes the entry behind the prompt's for that token.
#[tokio::test]
async fn an_end_token_behind_a_scored_prompt_has_an_entry() {
    let cluster = Cluster::one().await;
    cluster.prefill[0].script.answer(vec![END_TOKEN]);
    let body = json!({"prompt": [[0, 104, 105]], "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0});
    let reply = completed(&cluster, body.clone()).await;
    let choice = &reply["choices"][0];
    assert_eq!(list(choice, "tokens").len(), 4);
    assert_eq!((&list(choice, "tokens")[3], &list(choice, "token_logprobs")[3]), (&json!("</s>"), &json!(-0.0)));
    assert_eq!((&choice["finish_reason"], &reply["usage"]["completion_tokens"]), (&json!("stop"), &json!(0)));
    let mut alone = body;
    alone["echo"] = false.into();
    assert_eq!(list(&completed(&cluster, alone).await["choices"][0], "tokens").len(), 0, "it is no text");
}

#[tokio::test]
async fn a_conversation_is_scored_around_its_pictures() {
    let cluster = Cluster::one().await;
    let content = json!([{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "what?"}]);
    let reply = cluster.ask(json!({"messages": [{"role": "user", "content": content}], "prompt_logprobs": 1})).await;
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    let scores = reply["prompt_logprobs"].as_array().unwrap();
    assert_eq!((scores.len(), request.score_top), (request.tokens.len(), Some(1)));
    for (place, (score, token)) in scores.iter().zip(&request.tokens).enumerate() {
        if place == 0 || *token == IMAGE_TOKEN {
            assert!(score.is_null(), "{place}");
            continue;
        }
        let score = score.as_object().unwrap();
        let (id, own) = score.iter().next().unwrap();
        assert_eq!((id, &own["rank"]), (&token.to_string(), &json!(place)));
        assert_eq!(own["logprob"], json!(place as f64 / -4.0));
        assert!(own["decoded_token"].is_string());
        assert_eq!(score.len(), if *token == 101 { 1 } else { 2 });
    }
    assert!(reply["choices"][0]["logprobs"].is_null() && reply["choices"][0].get("prompt_logprobs").is_none());
    assert!(cluster.ask(json!({})).await.get("prompt_logprobs").is_none());
}

#[tokio::test]
async fn answers_to_one_prompt_share_its_scores() {
    let cluster = Cluster::one().await;
    let body = json!({"prompt": ["hello", "world"], "n": 2, "prompt_logprobs": 0, "max_tokens": 4});
    let reply = completed(&cluster, body).await;
    let scores: Vec<&Value> = (0..4).map(|at| &reply["choices"][at]["prompt_logprobs"]).collect();
    assert!(scores[0].is_array() && scores[0] == scores[1] && scores[2] == scores[3] && scores[1] != scores[2]);
    assert_eq!(asked(&cluster).iter().flatten().count(), 2, "each prompt is scored once");
}

#[tokio::test]
async fn a_replay_does_not_score_again() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.then([Act::Preempt(2)]);
    let body = json!({"prompt": "hello", "echo": true, "logprobs": 1, "max_tokens": 9});
    let reply = completed(&cluster, body).await;
    assert_eq!(reply["choices"][0]["text"], "hellohello world");
    let answer = answer_tokens("hello world").len() - 1;
    assert_eq!(list(&reply["choices"][0], "tokens").len(), prompt_tokens("hello").len() + answer);
    assert_eq!(asked(&cluster), [Some(1), None]);
}

#[tokio::test]
async fn a_node_that_does_not_score_is_passed_over() {
    let cluster = Cluster::start(2, 1, &[]).await;
    cluster.prefill[0].script.set(Act::Unscored);
    for _ in 0..3 {
        let reply = cluster.ask(json!({"prompt_logprobs": 1})).await;
        assert_eq!(reply["secateur"]["prefill_node"], "p1");
    }
    cluster.prefill[1].script.set(Act::Unscored);
    let response = cluster.post(&question(json!({"prompt_logprobs": 1}))).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "incompatible");
}

#[tokio::test]
async fn what_cannot_be_scored_is_refused_by_name() {
    let cluster = Cluster::one().await;
    for (body, param) in [
        (json!({"prompt": "a", "echo": true, "logprobs": 1, "stream": true}), "echo"),
        (json!({"prompt": "a", "prompt_logprobs": 1, "stream": true}), "prompt_logprobs"),
        (json!({"prompt": "a", "prompt_logprobs": -1}), "prompt_logprobs"),
        (json!({"prompt": "a", "prompt_logprobs": 21}), "prompt_logprobs"),
        (json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
    ] {
        let (status, reply) = complete(&cluster, body.clone()).await;
        assert_eq!((status, &reply["error"]["param"]), (400, &json!(param)), "{body}");
    }
}
