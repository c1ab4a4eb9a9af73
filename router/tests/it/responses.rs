//! The Responses API: the same answers as items, whole and streamed, and nothing kept in between.

use reqwest::Response;
use secateur_proto::v1::grammar::Kind;
use serde_json::{Value, json};

use crate::{
    support::{PNG, answer_tokens, nodes::Act, router::Cluster},
    tools::{CALL, cluster, model_with_tools},
    wording,
};

async fn post(cluster: &Cluster, extra: &Value) -> Response {
    let mut body = json!({"input": "hi"});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    cluster.post_to("/v1/responses", &body).await
}

async fn ask(cluster: &Cluster, extra: Value) -> Value {
    let response = post(cluster, &extra).await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

/// The events of a stream, each with the number and the name that it has to have.
async fn stream(cluster: &Cluster, mut extra: Value) -> Vec<Value> {
    extra["stream"] = true.into();
    let response = post(cluster, &extra).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    let event = |(number, event): (usize, &str)| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
        data
    };
    text.split_terminator("\n\n").enumerate().map(event).collect()
}

fn answering(cluster: &Cluster, text: &str) {
    cluster.prefill[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.answer(answer_tokens(text));
}

fn tools(extra: Value) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body =
        json!({"tools": [{"type": "function", "name": "look_up", "parameters": parameters, "strict": true}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn kinds(response: &Value) -> Vec<&str> {
    response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect()
}

/// A response without what differs from one to the next.
fn timeless(mut response: Value) -> Value {
    let epoch = response["id"].as_str().unwrap().strip_prefix("resp_").unwrap().to_owned();
    for key in ["created_at", "completed_at", "secateur"] {
        assert!(response[key].take() != Value::Null);
    }
    for item in response["output"].as_array_mut().unwrap() {
        if item.get("call_id").is_some() {
            item["call_id"] = "call".into();
        }
    }
    serde_json::from_str(&response.to_string().replace(&epoch, "epoch")).unwrap()
}

#[tokio::test]
async fn a_question_is_answered_with_an_item() {
    let cluster = Cluster::one().await;
    let asked = json!({"model": "tiny", "instructions": "Be brief.", "max_output_tokens": 50, "metadata": {"a": "b"}});
    let response = ask(&cluster, asked).await;
    let receipt = &response["secateur"];
    let epoch = receipt["epoch"].as_str().unwrap();
    assert_eq!(response["id"], format!("resp_{epoch}"));
    assert_eq!(
        (&response["object"], &response["status"], &response["model"]),
        (&json!("response"), &json!("completed"), &json!("tiny"))
    );
    let part = json!({"type": "output_text", "text": "hello world", "annotations": [], "logprobs": []});
    let item = json!({"type": "message", "id": format!("msg_{epoch}_0"), "status": "completed", "role": "assistant", "content": [part]});
    assert_eq!(response["output"], json!([item]));
    for (key, value) in [
        ("error", json!(null)),
        ("incomplete_details", json!(null)),
        ("instructions", json!("Be brief.")),
        ("max_output_tokens", json!(50)),
        ("metadata", json!({"a": "b"})),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", json!(null)),
        ("store", json!(false)),
        ("text", json!({"format": {"type": "text"}, "verbosity": "medium"})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("truncation", json!("disabled")),
    ] {
        assert_eq!(response[key], value, "{key}");
    }
    let usage = &response["usage"];
    assert_eq!(usage["output_tokens"], answer_tokens("hello world").len() - 1, "without the end token");
    let sum = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    assert_eq!(receipt["decode_node"], "d0");
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.max_new_tokens, 50);
}

#[tokio::test]
async fn the_same_conversation_is_the_same_prompt_as_in_chat() {
    let cluster = Cluster::one().await;
    let prompt = || cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().tokens;
    let picture = json!({"type": "input_image", "image_url": PNG, "detail": "auto"});
    let items = json!([
        {"role": "user", "content": [picture, {"type": "input_text", "text": "what?"}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "a cat", "annotations": []}]},
        {"role": "user", "content": "sure?"},
    ]);
    ask(&cluster, json!({"instructions": "Be brief.", "input": items})).await;
    let responses = prompt();
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}, {"type": "text", "text": "what?"}]},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "sure?"},
    ]);
    cluster.ask(json!({"messages": messages})).await;
    assert_eq!(responses, prompt());
}

#[tokio::test]
async fn a_stream_ends_with_the_whole_response() {
    let cluster = Cluster::one().await;
    for text in ["hello world", "héllo 👩‍👩‍👧 你好\n\n", " leading and trailing ", "a"] {
        answering(&cluster, text);
        let whole = ask(&cluster, json!({})).await;
        let events = stream(&cluster, json!({"stream_options": {"include_obfuscation": false}})).await;
        let said = events.iter().filter(|event| event["type"] == "response.output_text.delta");
        assert_eq!(said.map(|event| event["delta"].as_str().unwrap()).collect::<String>(), text);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(events[0]["response"]["id"], last["response"]["id"]);
        assert_eq!(timeless(last["response"].clone()), timeless(whole));
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_incomplete() {
    let cluster = Cluster::one().await;
    let response = ask(&cluster, json!({"max_output_tokens": 2})).await;
    assert_eq!((&response["status"], &response["output"][0]["status"]), (&json!("incomplete"), &json!("incomplete")));
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    let events = stream(&cluster, json!({"max_output_tokens": 2})).await;
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
}

#[tokio::test]
async fn log_probabilities_are_asked_for_by_include() {
    let cluster = Cluster::one().await;
    let asked = json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2});
    let response = ask(&cluster, asked.clone()).await;
    let entries = response["output"][0]["content"][0]["logprobs"].as_array().unwrap().clone();
    assert_eq!(entries.len(), answer_tokens("hello world").len() - 1);
    assert_eq!(entries[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(response["top_logprobs"], 2);
    let events = stream(&cluster, asked).await;
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let streamed: Vec<Value> = deltas.flat_map(|event| event["logprobs"].as_array().unwrap().clone()).collect();
    assert_eq!(streamed, entries);
}

#[tokio::test]
async fn calls_are_items_and_their_results_go_back() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, &format!("Let me see. {CALL}\n{CALL}")).await;
    let response = ask(&cluster, tools(json!({}))).await;
    assert_eq!(kinds(&response), ["message", "function_call", "function_call"]);
    assert_eq!((&response["status"], &response["tools"][0]["name"]), (&json!("completed"), &json!("look_up")));
    let calls = &response["output"].as_array().unwrap()[1..];
    assert_eq!(calls[0]["arguments"], "{\"city\": \"Oslo\"}");
    assert_ne!((&calls[0]["call_id"], &calls[0]["id"]), (&calls[1]["call_id"], &calls[1]["id"]));

    let events = stream(&cluster, tools(json!({}))).await;
    let deltas = events.iter().filter(|event| event["type"] == "response.function_call_arguments.delta");
    let first: String = deltas
        .clone()
        .filter(|event| event["output_index"] == 1)
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(first, "{\"city\": \"Oslo\"}");
    assert!(deltas.count() > 2, "arguments stream as they are made");
    assert_eq!(timeless(events.last().unwrap()["response"].clone()), timeless(response.clone()));

    answering(&cluster, "It rains.");
    let mut input = vec![json!({"role": "user", "content": "Weather?"})];
    input.extend(response["output"].as_array().unwrap().iter().cloned());
    for call in calls {
        input.push(json!({"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}));
    }
    let answered = ask(&cluster, tools(json!({"input": input}))).await;
    assert_eq!(answered["output"][0]["content"][0]["text"], "It rains.");
}

#[tokio::test]
async fn reasoning_is_an_item_and_goes_back() {
    let (cluster, _folder) = wording::cluster(wording::TEMPLATE, "<think>\nhm so\n</think>\n\nyes").await;
    let asked = json!({"reasoning": {"effort": "high", "summary": "auto"}});
    let response = ask(&cluster, asked.clone()).await;
    assert_eq!(kinds(&response), ["reasoning", "message"]);
    assert_eq!(response["output"][0]["content"], json!([{"type": "reasoning_text", "text": "hm so"}]));
    assert_eq!(response["output"][1]["content"][0]["text"], "yes");
    assert_eq!(response["reasoning"], asked["reasoning"]);
    let events = stream(&cluster, asked).await;
    let deltas = events.iter().filter(|event| event["type"] == "response.reasoning_text.delta");
    assert_eq!(deltas.map(|event| event["delta"].as_str().unwrap()).collect::<String>(), "hm so");
    assert_eq!(timeless(events.last().unwrap()["response"].clone()), timeless(response.clone()));
    let mut input = response["output"].as_array().unwrap().clone();
    input.push(json!({"role": "user", "content": "and?"}));
    assert_eq!(kinds(&ask(&cluster, json!({"input": input})).await), ["reasoning", "message"]);
}

#[tokio::test]
async fn a_forced_call_and_a_form_are_grammars() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, CALL).await;
    let grammar = || {
        let sampling = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().sampling;
        sampling.unwrap().grammar.unwrap().kind.unwrap()
    };
    let named = json!({"type": "function", "name": "look_up"});
    let allowed = json!({"type": "allowed_tools", "mode": "required", "tools": [named]});
    for choice in [json!("required"), named, allowed] {
        let response = ask(&cluster, tools(json!({"tool_choice": choice}))).await;
        assert_eq!((kinds(&response), &response["tool_choice"]), (vec!["function_call"], &choice));
        let Kind::Lark(grammar) = grammar() else { panic!("no grammar") };
        assert!(grammar.contains("look_up"), "{grammar}");
    }
    let schema = json!({"type": "object", "properties": {"z": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "name": "x", "strict": true, "schema": schema});
    let response = ask(&cluster, json!({"text": {"format": format}})).await;
    assert_eq!(response["text"]["format"], format);
    let Kind::JsonSchema(found) = grammar() else { panic!("no schema") };
    assert_eq!(found, schema.to_string());
}

#[tokio::test]
async fn a_failure_in_the_stream_is_told_in_it() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Skip(2));
    let events = stream(&cluster, json!({})).await;
    let [.., error, failed] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("internal_error")));
    assert_eq!((&failed["type"], &failed["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert_eq!(failed["response"]["error"]["code"], "server_error");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_the_clients_name() {
    let cluster = Cluster::one().await;
    let user = |content: Value| json!({"input": [{"role": "user", "content": content}]});
    let image = |url: &str| user(json!([{"type": "input_image", "image_url": url}]));
    let format = |schema: Value| json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}});
    for (body, param, code) in [
        (json!({"input": null}), "input", "invalid_request"),
        (json!({"previous_response_id": "resp_1"}), "previous_response_id", "unsupported_parameter"),
        (json!({"background": true}), "background", "unsupported_parameter"),
        (json!({"truncation": "auto"}), "truncation", "unsupported_parameter"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type", "unsupported_parameter"),
        (tools(json!({})), "tools", "unsupported_parameter"),
        (json!({"temperature": 3}), "temperature", "invalid_request"),
        (json!({"max_output_tokens": 100_000}), "max_output_tokens", "context_length_exceeded"),
        (json!({"input": "long ".repeat(20_000)}), "input", "context_length_exceeded"),
        (user(json!([{"type": "input_text"}])), "input[0].content[0].text", "invalid_request"),
        (json!({"reasoning": {"effort": "low"}}), "reasoning.effort", "unsupported_parameter"),
        (image("https://example.test/a.png"), "input[0].content[0].image_url", "invalid_image"),
        (format(json!({"type": "thing"})), "text.format.schema", "invalid_request"),
    ] {
        let response = post(&cluster, &body).await;
        assert_eq!(response.status(), 400, "{param}");
        let error: Value = response.json().await.unwrap();
        let error = &error["error"];
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{error}");
        assert!(!error["message"].as_str().unwrap().contains("messages"), "{error}");
    }
    let unknown = post(&cluster, &json!({"model": "other"})).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(cluster.get("/v1/responses/resp_1").await.status(), 404);
    assert_eq!(cluster.get("/v1/responses").await.status(), 405);
}
