//! What a client gets when it asks wrongly: a 4xx that names the field, and nothing else happens.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    PNG,
    nodes::Act,
    router::{Cluster, question},
};

const URL: &str = "/v1/chat/completions";

async fn check_error(response: reqwest::Response, what: &str) -> (StatusCode, Value) {
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"), "{what}");
    let text = response.text().await.unwrap();
    assert!(text.len() < 32_768, "{what}");
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text:?}"));
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{what}: {text}"));
    for key in ["message", "type", "param", "code"] {
        assert!(error.contains_key(key), "{what}: {text}");
    }
    assert!(!error["message"].as_str().unwrap().contains("127.0.0.1"), "{what}: {text}");
    (status, body["error"].clone())
}

fn content(content: Value) -> String {
    json!({"messages": [{"role": "user", "content": content}]}).to_string()
}

fn extra(fields: Value) -> String {
    question(fields).to_string()
}

#[tokio::test]
async fn thirty_malformed_bodies_each_get_a_4xx_with_an_openai_body() {
    let cluster = Cluster::one().await;
    let image = |url: Value| content(json!([{"type": "image_url", "image_url": url}]));
    let bodies: Vec<(String, &str)> = vec![
        ("".into(), ""),
        ("{".into(), ""),
        ("null".into(), ""),
        ("[]".into(), ""),
        ("\"text\"".into(), ""),
        ("{}".into(), "messages"),
        (r#"{"messages": "hi"}"#.into(), "messages"),
        (r#"{"messages": []}"#.into(), "messages"),
        (r#"{"messages": [1]}"#.into(), "messages[0]"),
        (r#"{"messages": [{"content": "x"}]}"#.into(), "messages[0].role"),
        (r#"{"messages": [{"role": "alien", "content": "x"}]}"#.into(), "messages[0].role"),
        (r#"{"messages": [{"role": "user"}]}"#.into(), "messages[0].content"),
        (content(json!(5)), "messages[0].content"),
        (content(json!([{"text": "x"}])), "messages[0].content[0].type"),
        (content(json!([{"type": "text"}])), "messages[0].content[0].text"),
        (content(json!([{"type": "input_audio"}])), "messages[0].content[0].type"),
        (image(json!({})), "messages[0].content[0].image_url.url"),
        (image(json!("http://example.test/cat.png")), "messages[0].content[0].image_url"),
        (image(json!({"url": "data:image/png;base64,@@@"})), "messages[0].content[0].image_url.url"),
        (image(json!({"url": "data:image/png;base64,aGVsbG8="})), "messages[0].content[0].image_url.url"),
        (extra(json!({"temperature": 3})), "temperature"),
        (extra(json!({"top_p": 0})), "top_p"),
        (extra(json!({"max_tokens": -1})), "max_tokens"),
        (extra(json!({"max_tokens": 100_000})), "max_tokens"),
        (extra(json!({"n": 129})), "n"),
        (extra(json!({"stop": ""})), "stop"),
        (extra(json!({"stream": "yes"})), "stream"),
        (extra(json!({"tools": [{"type": "function"}]})), "tools[0].function"),
        (extra(json!({"media_io_kwargs": {"image": {"rgba_background_color": [0, 0, 0]}}})), "media_io_kwargs"),
        (extra(json!({"grammar": "root ::= \"a\""})), "grammar"),
        (extra(json!({"thinking_token_budget": 5})), "thinking_token_budget"),
        (extra(json!({"chat_template_kwargs": {"tools": [{}]}})), "chat_template_kwargs.tools"),
        (extra(json!({"chat_template_kwargs": {"mood": "</s>"}})), "chat_template_kwargs.mood"),
        (r#"{"messages": [{"role": "user", "content": "x", "name": "</s>"}]}"#.into(), "messages[0].name"),
        (extra(json!({"logprobs": 5})), "logprobs"),
        (extra(json!({"top_logprobs": 3})), "top_logprobs"),
        (extra(json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs"),
        (extra(json!({"min_p": 1.5})), "min_p"),
        (extra(json!({"repetition_penalty": 0})), "repetition_penalty"),
        (extra(json!({"presence_penalty": 3})), "presence_penalty"),
        (extra(json!({"frequency_penalty": -3})), "frequency_penalty"),
        (extra(json!({"logit_bias": {"5": 101}})), "logit_bias"),
        (extra(json!({"logit_bias": {"300000": 1}})), "logit_bias"),
        (extra(json!({"min_tokens": 5, "max_tokens": 4})), "min_tokens"),
        (extra(json!({"stop_token_ids": [300_000]})), "stop_token_ids"),
        (extra(json!({"ignore_eos": "yes"})), "ignore_eos"),
        (extra(json!({"best_of": 2})), "best_of"),
        (extra(json!({"secateur": {"visual": {"method": "magic"}}})), "secateur.visual.method"),
        (extra(json!({"secateur": {"transfer": {"policy": "magic"}}})), "secateur.transfer.policy"),
        (extra(json!({"secateur": {"transfer": {"policy": "pdtrim"}}})), "secateur.transfer.policy"),
        (content(json!({"text": "no list"})), "messages[0].content"),
        (content(json!("x".repeat(3_000))), "messages"),
        (r#"{"messages": [{"role": "user", "content": "\ud800"}]}"#.into(), ""),
        (format!(r#"{{"seed": {}, "messages": []}}"#, "9".repeat(400)), ""),
        (format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)), ""),
        (extra(json!({"model": 5})), "model"),
    ];
    assert!(bodies.len() >= 30);
    for (body, param) in bodies {
        let shown: String = body.chars().take(80).collect();
        let request = cluster.client.post(cluster.url(URL)).header("content-type", "application/json");
        let (status, error) = check_error(request.body(body).send().await.unwrap(), &shown).await;
        assert_eq!(status, 400, "{shown}: {error}");
        if !param.is_empty() {
            assert_eq!(error["param"], param, "{shown}: {error}");
        }
    }
    assert_eq!(cluster.prefill[0].script.calls() + cluster.decode[0].script.calls(), 0);
    cluster.ask(json!({})).await;
}

#[tokio::test]
async fn odd_but_valid_bodies_are_answered() {
    let cluster = Cluster::one().await;
    for fields in [
        json!({"temperature": 1e-300, "seed": -5, "top_k": -1}),
        json!({"temperature": null, "stop": null, "tools": null, "user": "u", "metadata": {"a": "b"}, "unknown": [1]}),
        json!({"messages": [{"role": "developer", "content": "brief"}, {"role": "user", "content": "nul \u{0}", "name": "x"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PNG}, "what?"]}]}),
        json!({"secateur": {"visual": {"method": "none"}, "transfer": {"policy": "dense"}}}),
        json!({"secateur": {"visual": {"method": "auto"}, "transfer": {"policy": "auto"}}}),
        json!({"secateur": {"transfer": {"policy": "tiered"}}}),
    ] {
        cluster.ask(fields).await;
    }
    let big_seed =
        r#"{"seed": 340282366920938463463374607431768211456000, "messages": [{"role": "user", "content": "x"}]}"#;
    let request = cluster.client.post(cluster.url(URL)).header("content-type", "application/json");
    assert_eq!(request.body(big_seed).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn numbers_are_quoted_as_they_were_sent() {
    let cluster = Cluster::one().await;
    for (field, quoted) in [
        (r#""max_tokens": 1e30"#, "max_tokens asks for 1e30"),
        (r#""max_completion_tokens": 99999999999"#, "max_completion_tokens asks for 99999999999"),
        (r#""logprobs": true, "top_logprobs": 1e30"#, "not 1e30"),
        (r#""temperature": 1e30"#, "not 1e30"),
    ] {
        let body = format!(r#"{{"messages": [{{"role": "user", "content": "x"}}], {field}}}"#);
        let request = cluster.client.post(cluster.url(URL)).header("content-type", "application/json").body(body);
        let (status, error) = check_error(request.send().await.unwrap(), field).await;
        assert_eq!(status, 400, "{field}");
        assert!(error["message"].as_str().unwrap().ends_with(quoted), "{error}");
    }
}

#[tokio::test]
async fn conversations_with_tools_and_template_variables_are_answered() {
    let cluster = Cluster::one().await;
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    for fields in [
        json!({"messages": [
            {"role": "user", "content": "a", "name": "ann"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "b"},
        ]}),
        json!({"chat_template_kwargs": {"enable_thinking": false}}),
    ] {
        cluster.ask(fields).await;
    }
}

#[tokio::test]
async fn wrong_routes_methods_types_and_sizes_have_their_own_codes() {
    let cluster = Cluster::start(1, 1, &["--max-body-bytes", "4096"]).await;
    let client = &cluster.client;
    let get = |path: &str| client.get(cluster.url(path));
    let post = |body: String| client.post(cluster.url(URL)).header("content-type", "application/json").body(body);
    for (request, status, code) in [
        (get("/nope"), 404, "not_found"),
        (get("/server_info"), 404, "not_found"),
        (get("/v1/models/other"), 404, "model_not_found"),
        (get(URL), 405, "method_not_allowed"),
        (client.post(cluster.url("/health")), 405, "method_not_allowed"),
        (client.post(cluster.url(URL)).header("content-type", "text/plain").body("{}"), 415, "unsupported_media_type"),
        (post(" ".repeat(5_000)), 413, "payload_too_large"),
        (post(extra(json!({"model": "gpt-4o"}))), 404, "model_not_found"),
    ] {
        let (found, error) = check_error(request.send().await.unwrap(), code).await;
        assert_eq!((found.as_u16(), error["code"].as_str().unwrap()), (status, code), "{error}");
    }
}

#[tokio::test]
async fn a_broken_picture_is_the_clients_error_and_names_its_field() {
    use secateur_proto::{ErrorCode, ServiceError};
    let cluster = Cluster::one().await;
    let broken = ServiceError::new(ErrorCode::InvalidImage, "the picture cannot be decoded").with_param("images[0]");
    cluster.prefill[0].script.set(Act::Refuse(broken));
    let body = question(json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PNG}},
    ]}]}));
    let (status, error) = check_error(cluster.post(&body).await, "picture").await;
    assert_eq!(status, 400);
    assert_eq!(error["code"], "invalid_image");
    assert_eq!(error["param"], "messages[0].content[1].image_url.url");
    assert_eq!(cluster.prefill[0].script.calls(), 1, "no other pair would do better");
    crate::support::router::until("the decode leg is dropped", async || cluster.decode[0].script.active() == 0).await;
}

#[tokio::test]
async fn a_prompt_that_only_prefill_finds_too_long_is_the_clients_error() {
    use secateur_proto::{ErrorCode, ServiceError};
    let cluster = Cluster::one().await;
    let long = ServiceError::new(ErrorCode::ContextLengthExceeded, "the prompt fills 600 positions");
    cluster.prefill[0].script.set(Act::Refuse(long));
    let (status, error) = check_error(cluster.post(&question(json!({}))).await, "long").await;
    assert_eq!((status.as_u16(), error["code"].as_str()), (400, Some("context_length_exceeded")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("maximum context length is 512 tokens; the prompt fills 600"), "{message}");
    assert_eq!(cluster.prefill[0].script.calls(), 1, "no other pair would do better");
}

#[tokio::test]
async fn keys_are_asked_for_where_there_are_any() {
    let cluster = Cluster::start(1, 1, &["--api-key", "k1,k2"]).await;
    let (status, error) = check_error(cluster.post(&question(json!({}))).await, "no key").await;
    assert_eq!((status.as_u16(), error["code"].as_str()), (401, Some("invalid_api_key")));
    let request = cluster.client.post(cluster.url(URL)).bearer_auth("k2").json(&question(json!({})));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(cluster.get("/metrics").await.status(), 200, "probes need no key");
}
