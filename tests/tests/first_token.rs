//! The first token, which prefill draws: the same as in a longer answer, whatever ends it, and of the right prompt.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use secateur_tests::{cluster::Cluster, repository, role::Role, suite};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// The demo's end token.
const END: u32 = 2;
const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// `body` with further fields.
fn with(body: &Value, fields: Value) -> Value {
    let mut body = body.clone();
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

async fn ask(cluster: &Cluster, body: &Value) -> Value {
    let (status, reply) = cluster.chat(body).await.unwrap();
    assert!(status.is_success(), "{reply}");
    reply
}

/// Text, end and number of tokens.
fn outcome(reply: &Value) -> (&str, &str, u64) {
    let choice = &reply["choices"][0];
    let text = choice["message"]["content"].as_str().unwrap();
    (text, choice["finish_reason"].as_str().unwrap(), reply["usage"]["completion_tokens"].as_u64().unwrap())
}

fn entries(reply: &Value) -> Vec<Value> {
    reply["choices"][0]["logprobs"]["content"].as_array().unwrap().clone()
}

/// Questions with a picture and without, whose answers have several words.
fn questions() -> Vec<Value> {
    let cases = suite::cases().unwrap();
    let scored = json!({"logprobs": true, "top_logprobs": 3});
    let some = |has_picture: bool| {
        let long =
            move |case: &&suite::Case| case.answer.split(' ').count() > 3 && case.images.is_empty() != has_picture;
        cases.iter().filter(long).step_by(11).take(6).map(|case| case.body(&suite::exact()).unwrap())
    };
    some(true).chain(some(false)).map(|body| with(&body, scored.clone())).collect()
}

#[tokio::test]
async fn one_token_is_the_first_of_a_longer_answer() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let several = with(&questions()[0], json!({"max_tokens": 1, "n": 3}));
    for body in questions() {
        let long = ask(&cluster, &body).await;
        let (text, _, _) = outcome(&long);
        let long_entries = entries(&long);
        for fields in [json!({"max_tokens": 1}), json!({"max_tokens": 1, "ignore_eos": true, "min_tokens": 1})] {
            let one = ask(&cluster, &with(&body, fields)).await;
            let (first, finish, tokens) = outcome(&one);
            assert!(text.starts_with(first) && !first.is_empty(), "{first} {text}");
            assert_eq!((finish, tokens), ("length", 1));
            assert_eq!(entries(&one), long_entries[..1]);
            assert_eq!(one["secateur"]["decode_node"], "", "prefill draws it alone");
        }
        let two = ask(&cluster, &with(&body, json!({"max_tokens": 2}))).await;
        assert_eq!(entries(&two), long_entries[..long_entries.len().min(2)]);
        // What the tokenizer strips in front is in no entry.
        let bytes = long_entries.iter().flat_map(|entry| entry["bytes"].as_array().unwrap().clone());
        let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
    let several = ask(&cluster, &several).await;
    assert_eq!(several["usage"]["completion_tokens"], 3);
    let choices = several["choices"].as_array().unwrap();
    assert!(
        choices.iter().all(|choice| choice["message"] == choices[0]["message"] && choice["finish_reason"] == "length")
    );
}

#[tokio::test]
async fn answers_end_where_they_are_told_to() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let body = with(&questions()[0], json!({"return_tokens_as_token_ids": true}));
    let plain = ask(&cluster, &body).await;
    let (text, finish, tokens) = outcome(&plain);
    assert_eq!(finish, "stop");
    let ids: Vec<u32> = entries(&plain)
        .iter()
        .map(|entry| entry["token"].as_str().unwrap().trim_start_matches("token_id:").parse().unwrap())
        .collect();
    let first = ask(&cluster, &with(&body, json!({"max_tokens": 1}))).await;
    let (first, ..) = outcome(&first);
    let more = tokens + 3;
    let ended = async |fields: Value| {
        let reply = ask(&cluster, &with(&body, fields)).await;
        let (text, finish, tokens) = outcome(&reply);
        (text.to_owned(), finish.to_owned(), tokens)
    };
    let is = |text: &str, finish: &str, tokens: u64| (text.to_owned(), finish.to_owned(), tokens);

    // At the first token.
    assert_eq!(ended(json!({"stop": first})).await, is("", "stop", 1));
    assert_eq!(ended(json!({"stop_token_ids": [ids[0]]})).await, is("", "stop", 0));
    assert_eq!(ended(json!({"stop_token_ids": [ids[0]], "max_tokens": 1})).await, is("", "stop", 0));
    assert_eq!(ended(json!({"logit_bias": {"2": 100}})).await, is("", "stop", 0));
    assert_eq!(ended(json!({"logit_bias": {"2": 100}, "max_tokens": 1})).await, is("", "stop", 0));
    // Behind it, where it does not count.
    assert_eq!(ended(json!({"stop": first, "min_tokens": 1})).await, is(text, "stop", tokens));
    assert_eq!(ended(json!({"logit_bias": {"2": 100}, "min_tokens": 1})).await, is(first, "stop", 1));
    assert_eq!(
        ended(json!({"stop": text, "min_tokens": tokens - 1})).await,
        is("", "stop", tokens),
        "it begins before"
    );

    // The shortest answer, the longest, and both.
    let (_, finish, counted) = ended(json!({"min_tokens": more})).await;
    assert!(finish == "stop" && counted >= more || finish == "length" && counted == 48, "{finish} {counted}");
    for length in [1, tokens, more] {
        let (_, finish, counted) = ended(json!({"min_tokens": length, "max_tokens": length})).await;
        assert_eq!((finish.as_str(), counted), ("length", length));
        let (_, finish, counted) = ended(json!({"ignore_eos": true, "max_tokens": length})).await;
        assert_eq!((finish.as_str(), counted), ("length", length));
    }
    let (continued, _, _) = ended(json!({"ignore_eos": true, "max_tokens": more})).await;
    assert!(continued.starts_with(text), "{continued}");
    assert_eq!(ended(json!({"ignore_eos": true, "stop_token_ids": [END]})).await, is(text, "stop", tokens));
    let (_, finish, counted) =
        ended(json!({"ignore_eos": true, "stop_token_ids": [END], "min_tokens": more, "max_tokens": more})).await;
    assert_eq!((finish.as_str(), counted), ("length", more));

    // A grammar whose only text is one token: it ends behind that, however long it should be.
    assert_eq!(ended(json!({"guided_choice": ["I"]})).await, is("I", "stop", 1));
    assert_eq!(ended(json!({"guided_choice": ["I"], "min_tokens": 4})).await, is("I", "stop", 1));
    assert_eq!(ended(json!({"guided_choice": ["I"], "max_tokens": 1})).await, is("I", "length", 1));
    // Where it may also go on, it has to.
    assert_eq!(
        ended(json!({"guided_regex": "a?", "min_tokens": 4, "logit_bias": {"2": 100}})).await,
        is("a", "stop", 1)
    );
}

/// A picture of one colour and a question; the answer's numbers tell the colours apart.
fn coloured(colour: &str, visual: &Value) -> Value {
    let picture = fs::read(repository(&format!("tests/fixtures/colours/{colour}.png"))).unwrap();
    let url = format!("data:image/png;base64,{}", STANDARD.encode(picture));
    let content = json!([
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What color is the background?"},
    ]);
    json!({
        "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 6, "ignore_eos": true,
        "logprobs": true, "top_logprobs": 3, "secateur": {"visual": visual, "transfer": {"policy": "dense"}},
    })
}

/// The answer, and how much of the prompt either cache had.
async fn seen(cluster: &Cluster, body: &Value) -> (Value, u64, u64) {
    let reply = ask(cluster, body).await;
    let cached = reply["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    let held = reply["secateur"]["transfer"]["positions_held"].as_u64().unwrap();
    (reply["choices"][0].clone(), cached, held)
}

#[tokio::test]
async fn pictures_of_one_colour_are_never_taken_for_each_other() {
    for visual in [json!({"method": "none"}), json!({"method": "auto"})] {
        let bodies = COLOURS.map(|colour| coloured(colour, &visual));
        let mut alone = Vec::new();
        for body in &bodies {
            let fresh = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
            alone.push(seen(&fresh, body).await.0);
        }
        assert!(alone[0] != alone[1] && alone[1] != alone[2] && alone[2] != alone[0], "colours make no difference");
        let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
        for (colour, (body, expected)) in COLOURS.iter().zip(bodies.iter().zip(&alone)) {
            let first = seen(&cluster, body).await;
            assert_eq!(first, (expected.clone(), 0, 0), "{colour}: nothing of it has been seen");
            let (again, cached, held) = seen(&cluster, body).await;
            assert_eq!(again, *expected, "{colour}");
            assert!(cached > 0 && held > 0, "{colour}: neither cache was asked: {cached} {held}");
        }
        let all = (0..3).flat_map(|_| bodies.iter().zip(&alone));
        let all = all.map(async |(body, expected)| assert_eq!(seen(&cluster, body).await.0, *expected));
        join_all(all).await;
    }
}

/// A prompt of token ids.
fn long_prompt(tokens: usize, number: usize) -> Value {
    let prompt: Vec<usize> = (0..tokens).map(|at| 20 + (at * 7 + number * 13) % 900).collect();
    json!({"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 2})
}

#[tokio::test]
async fn prompts_up_to_the_contexts_end_get_their_token_from_two_prefill_nodes_at_once() {
    let model = suite::demo();
    let model = model.to_str().unwrap();
    let start = |role: &str| Role::start(PROGRAM, &[role, "--model", model, "--dtype", "f32"]).unwrap();
    let (prefill, decode) = ([start("prefill"), start("prefill")], start("decode"));
    let addresses = format!("{},{}", prefill[0].address, prefill[1].address);
    let decode_address = decode.address.to_string();
    let flags = ["router", "--model", model, "--prefill", &addresses, "--decode", &decode_address];
    let router = Role::start(PROGRAM, &flags).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", router.address);
    let started = std::time::Instant::now();
    loop {
        let view: Value = match client.get(url("/v1/cluster")).send().await {
            Ok(answer) => answer.json().await.unwrap(),
            Err(_) => Value::Null,
        };
        let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
        if nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "up") {
            break;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "{view}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let models: Value = client.get(url("/v1/models")).send().await.unwrap().json().await.unwrap();
    let context = models["data"][0]["max_model_len"].as_u64().unwrap() as usize;
    let complete = async |body: Value| {
        let answer = client.post(url("/v1/completions")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    // There is room for one token, and none beyond it.
    let (status, refused) = complete(long_prompt(context, 0)).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("context_length_exceeded")), "{refused}");
    let mut several = long_prompt(context - 1, 0);
    several["max_tokens"] = 5.into();
    let (status, cut) = complete(several).await;
    assert_eq!((status, &cut["usage"]["total_tokens"]), (200, &json!(context)), "{cut}");

    let prompts = [0, 1, 2, 3, 0, 1, 2, 3].map(|number| long_prompt(context - 1, number));
    let together = join_all(prompts.iter().map(|prompt| complete(prompt.clone()))).await;
    let mut by = Vec::new();
    for (number, (status, reply)) in together.iter().enumerate() {
        assert_eq!(*status, 200, "{reply}");
        let choice = &reply["choices"][0];
        assert_eq!((&choice["finish_reason"], &reply["usage"]["completion_tokens"]), (&json!("length"), &json!(1)));
        assert_eq!(choice, &together[number % 4].1["choices"][0], "the same prompt");
        by.push(reply["secateur"]["prefill_node"].clone());
    }
    assert!(by.iter().any(|node| *node != by[0]), "both prefill nodes had their part: {by:?}");
    for (number, prompt) in prompts.iter().take(4).enumerate() {
        let (_, alone) = complete(prompt.clone()).await;
        assert_eq!(alone["choices"][0], together[number].1["choices"][0], "alone and among others");
    }
}
