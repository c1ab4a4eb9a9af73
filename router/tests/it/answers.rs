//! What a client gets when all goes well.

use std::sync::atomic::Ordering;

use secateur_proto::v1::VisualMethod;
use serde_json::{Value, json};

use crate::support::{
    END_TOKEN, PNG, answer_tokens,
    nodes::Act,
    router::{Cluster, joined},
};

#[tokio::test]
async fn a_question_is_answered_with_a_receipt() {
    let cluster = Cluster::one().await;
    let reply = cluster.ask(json!({"model": "tiny", "max_tokens": 50})).await;
    assert_eq!(reply["object"], "chat.completion");
    assert_eq!(reply["model"], "tiny");
    let choice = &reply["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "hello world", "refusal": null}));
    assert_eq!(choice["finish_reason"], "stop");
    let tokens = answer_tokens("hello world").len();
    assert_eq!(reply["usage"]["completion_tokens"], tokens - 1, "without the end token");
    let receipt = &reply["secateur"];
    assert_eq!(receipt.get("visual"), Some(&Value::Null), "there was no picture");
    assert_eq!(receipt["prefill_node"], "p0");
    assert_eq!(receipt["decode_node"], "d0");
    assert_eq!(receipt["attempts"], 1);
    assert_eq!(receipt["transfer"]["policy"], "dense");
    assert_eq!(receipt["transfer"]["ratio"], 2.0);
    let saved = json!({"visual": 2.0, "blocks": 0.2, "held": 1.25, "precision": 4.0});
    assert_eq!((&receipt["transfer"]["saved"], &receipt["transfer"]["bits"]), (&saved, &json!(6.0)));
    assert_eq!(receipt["timing"]["decode_ms"], 4.0);
    assert!(receipt["timing"]["ttft_ms"].as_f64().unwrap() > 0.0);
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.max_new_tokens, 50);
    assert_eq!(generate.stop_token_ids, [END_TOKEN]);
    assert_eq!(generate.epoch.unwrap().id, receipt["epoch"].as_str().unwrap());
}

#[tokio::test]
async fn a_picture_goes_to_prefill_as_one_token_and_is_counted_in_full() {
    let cluster = Cluster::one().await;
    let content = json!([{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "what?"}]);
    let reply = cluster.ask(json!({"messages": [{"role": "user", "content": content}]})).await;
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(request.images.len(), 1);
    assert_eq!(request.tokens.iter().filter(|id| **id == 3).count(), 1);
    assert_eq!(request.visual.unwrap().method, VisualMethod::Trimtokenator as i32);
    assert_eq!(request.visual.unwrap().keep, 0.25, "auto is what the checkpoint recommends");
    assert_eq!(request.decode_address, cluster.decode[0].address.to_string());
    assert_eq!(reply["usage"]["prompt_tokens"], request.tokens.len() + 15);
    let receipt = &reply["secateur"]["visual"];
    assert_eq!((&receipt["tokens_before"], &receipt["tokens_after"]), (&json!(16), &json!(4)));
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.prompt_positions_max as usize, request.tokens.len() + 15);
}

#[tokio::test]
async fn joined_deltas_equal_the_answer_in_one_piece() {
    let cluster = Cluster::one().await;
    for text in ["hello world", "héllo 👩‍👩‍👧 你好\n\n", " leading and trailing ", "a"] {
        let tokens = answer_tokens(text);
        cluster.prefill[0].script.answer(tokens.clone());
        cluster.decode[0].script.answer(tokens);
        let whole = cluster.ask(json!({})).await;
        let events = cluster.stream(json!({"stream_options": {"include_usage": true}})).await;
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(joined(&events), text);
        check_stream(&events);
    }
}

fn check_stream(events: &[Value]) {
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let reasons = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!(reasons, 1);
    let ids: Vec<&Value> = events.iter().filter(|event| event.is_object()).map(|event| &event["id"]).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    let usage = &events[events.len() - 2];
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(usage["secateur"]["transfer"]["bytes_sent"], 1_000);
    assert_eq!(events[events.len() - 1], "[DONE]");
}

#[tokio::test]
async fn stop_texts_are_found_across_tokens_and_never_leak() {
    let cluster = Cluster::one().await;
    for (stop, expected) in [
        (json!("o w"), "hell"),
        (json!(["zzz", "world"]), "hello "),
        (json!("hello"), ""),
        (json!("worldly"), "hello world"),
        (json!("d"), "hello worl"),
    ] {
        let whole = cluster.ask(json!({"stop": stop})).await;
        assert_eq!(whole["choices"][0]["message"]["content"], expected, "{stop}");
        assert_eq!(whole["choices"][0]["finish_reason"], "stop");
        let events = cluster.stream(json!({"stop": stop})).await;
        assert_eq!(joined(&events), expected, "{stop}");
        assert_eq!(events[events.len() - 1], "[DONE]");
    }
}

#[tokio::test]
async fn max_tokens_end_the_answer() {
    let cluster = Cluster::one().await;
    let two = cluster.ask(json!({"max_completion_tokens": 2})).await;
    assert_eq!(two["choices"][0]["finish_reason"], "length");
    assert_eq!(two["usage"]["completion_tokens"], 2);
    let one = cluster.ask(json!({"max_tokens": 1})).await;
    assert_eq!(one["choices"][0]["finish_reason"], "length");
    assert_eq!(one["secateur"]["decode_node"], "");
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(request.decode_address, "", "one token needs no decode node");
    assert_eq!(cluster.decode[0].script.calls(), 1);
}

#[tokio::test]
async fn an_end_token_at_once_is_an_empty_answer() {
    let cluster = Cluster::one().await;
    cluster.prefill[0].script.answer(vec![END_TOKEN]);
    cluster.decode[0].script.answer(vec![END_TOKEN]);
    cluster.decode[0].script.set(Act::Hang);
    let reply = cluster.ask(json!({})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    assert_eq!(reply["secateur"]["transfer"]["bytes_sent"], 1_000);
    crate::support::router::until("the decode leg is dropped", async || cluster.decode[0].script.active() == 0).await;
}

#[tokio::test]
async fn sampling_reaches_both_nodes() {
    let cluster = Cluster::one().await;
    cluster
        .ask(json!({
            "temperature": 0.5, "top_p": 0.5, "top_k": 7, "min_p": 0.25, "seed": 9, "frequency_penalty": 0.5,
            "presence_penalty": -0.5, "repetition_penalty": 1.5, "logit_bias": {"7": -100}, "min_tokens": 2,
            "stop_token_ids": [5], "max_tokens": 20,
        }))
        .await;
    let prefill = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!((&prefill.sampling, &prefill.stop_token_ids), (&generate.sampling, &generate.stop_token_ids));
    assert_eq!(generate.stop_token_ids, [END_TOKEN, 5]);
    let sampling = prefill.sampling.unwrap();
    assert_eq!((sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p), (0.5, 0.5, 7, 0.25));
    assert_eq!((sampling.frequency_penalty, sampling.presence_penalty, sampling.repetition_penalty), (0.5, -0.5, 1.5));
    assert_eq!((sampling.seed, sampling.min_tokens, sampling.top_logprobs), (9, 2, None));
    assert_eq!(sampling.logit_bias.get(&7), Some(&-100.0));
    assert_eq!(generate.prompt_tokens, prefill.tokens, "a repetition penalty needs the prompt");
}

#[tokio::test]
async fn only_a_repetition_penalty_sends_the_prompt_to_decode_and_never_its_pictures() {
    let cluster = Cluster::one().await;
    let content = json!([{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "what?"}]);
    let messages = json!([{"role": "user", "content": content}]);
    let sent = async |penalty: f64| {
        cluster.ask(json!({"messages": messages, "repetition_penalty": penalty})).await;
        cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap().prompt_tokens
    };
    assert!(sent(1.0).await.is_empty());
    let tokens = sent(1.1).await;
    let all = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().tokens;
    assert_eq!(tokens.len(), all.len() - 1);
    assert!(!tokens.contains(&3));
}

#[tokio::test]
async fn ignored_end_tokens_do_not_end_the_answer() {
    let cluster = Cluster::one().await;
    let tokens = [answer_tokens("hello"), answer_tokens(" world")].concat();
    cluster.prefill[0].script.answer(tokens.clone());
    cluster.decode[0].script.answer(tokens.clone());
    let reply = cluster.ask(json!({"ignore_eos": true, "max_tokens": tokens.len()})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "hello world");
    assert_eq!(reply["usage"]["completion_tokens"], tokens.len());
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert!(generate.stop_token_ids.is_empty());
    let reply = cluster.ask(json!({"ignore_eos": true, "stop_token_ids": [END_TOKEN]})).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "hello", "the client's own end tokens count");
}

#[tokio::test]
async fn pictures_of_varying_size_are_counted_by_prefill() {
    let cluster = Cluster::one().await;
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        let mut description = node.script.description.lock().unwrap();
        description.visual_tokens_vary = true;
        description.visual_tokens_per_image = 400;
    }
    cluster.prefill[0].script.visual_tokens.store(5, Ordering::SeqCst);
    cluster.prefill[0].script.cached_positions.store(7, Ordering::SeqCst);
    crate::support::router::until("the router knows", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["nodes"].as_array().unwrap().iter().all(|node| node["node"]["visual_tokens_vary"] == true)
    })
    .await;
    let picture = json!({"type": "image_url", "image_url": {"url": PNG}});
    let content = json!([picture, picture, {"type": "text", "text": "what?"}]);
    let body = json!({"messages": [{"role": "user", "content": content}], "stream_options": {"include_usage": true}});
    let events = cluster.stream(body).await;
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    let usage = &events[events.len() - 2]["usage"];
    assert_eq!(usage["prompt_tokens"], request.tokens.len() - 2 + 10);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 7);
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.prompt_positions_max, 512, "two pictures of 400 could not fit; these do");
    assert_eq!(generate.max_new_tokens as usize, 512 - request.tokens.len());
}

#[tokio::test]
async fn requests_spread_over_equal_pairs() {
    let cluster = Cluster::start(2, 2, &[]).await;
    crate::support::router::until("all nodes are up", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        view["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "up")
    })
    .await;
    for _ in 0..4 {
        cluster.ask(json!({})).await;
    }
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        assert_eq!(node.script.calls(), 2);
    }
}

#[tokio::test]
async fn request_ids_are_taken_or_made_and_carried() {
    let cluster = Cluster::one().await;
    let request = cluster.client.post(cluster.url("/v1/chat/completions")).header("x-request-id", "mine-1");
    let response = request.json(&crate::support::router::question(json!({}))).send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let seen = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(seen.request_id, "mine-1");
    assert!(!cluster.get("/live").await.headers()["x-request-id"].is_empty());
}
