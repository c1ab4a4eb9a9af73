//! Anthropic's Messages API, from the body to the nodes and from the tokens to the client.

use std::sync::atomic::Ordering;

use reqwest::{Method, Response};
use secateur_proto::{ErrorCode, ServiceError, v1::grammar::Kind};
use serde_json::{Value, json};

use crate::{
    support::{
        answer_tokens, model_with_template,
        nodes::Act,
        router::{Cluster, question},
        text_of,
    },
    tools::{CALL, TEMPLATE},
};

const URL: &str = "/v1/messages";
/// A template whose model may think.
const THINKING: &str = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}\
    assistant: {% if not enable_thinking %}<think></think>{% endif %}";

async fn cluster_with(template: &str, says: &str) -> (Cluster, tempfile::TempDir) {
    let folder = model_with_template(template);
    let cluster = Cluster::start(1, 1, &["--model", folder.path().to_str().unwrap()]).await;
    say(&cluster, says);
    (cluster, folder)
}

fn say(cluster: &Cluster, text: &str) {
    cluster.prefill[0].script.answer(answer_tokens(text));
    cluster.decode[0].script.answer(answer_tokens(text));
}

fn body(extra: Value) -> Value {
    let mut body = question(extra);
    body["max_tokens"] = body.get("max_tokens").cloned().unwrap_or(json!(100));
    body
}

async fn ask(cluster: &Cluster, extra: Value) -> Value {
    let response = cluster.post_to(URL, &body(extra)).await;
    let status = response.status();
    let reply: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{reply}");
    reply
}

/// The events of a stream; each is named as its data says.
async fn stream(cluster: &Cluster, extra: Value) -> Vec<Value> {
    let mut body = body(extra);
    body["stream"] = true.into();
    let response = cluster.post_to(URL, &body).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap_or_else(|| panic!("not an event: {event:?}"));
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    text.strip_suffix("\n\n").unwrap().split("\n\n").map(event).collect()
}

/// The message that a stream's events add up to, as clients add them up.
fn added_up(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    assert_eq!((&events[0]["type"], &message["content"]), (&json!("message_start"), &json!([])));
    let mut inputs: Vec<String> = Vec::new();
    let add = |block: &mut Value, key: &str, more: &Value| {
        *block = format!("{}{}", block.as_str().unwrap(), more[key].as_str().unwrap()).into();
    };
    for event in &events[1..] {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        let blocks = message["content"].as_array_mut().unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                assert_eq!(index + 1, blocks.len(), "only the last block grows");
                match event["delta"]["type"].as_str().unwrap() {
                    "text_delta" => add(&mut blocks[index]["text"], "text", &event["delta"]),
                    "thinking_delta" => add(&mut blocks[index]["thinking"], "thinking", &event["delta"]),
                    "input_json_delta" => inputs[index].push_str(event["delta"]["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" if blocks[index]["type"] == "tool_use" => {
                blocks[index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
            }
            "message_delta" => {
                for key in ["stop_reason", "stop_sequence"] {
                    message[key] = event["delta"][key].clone();
                }
                for key in ["usage", "secateur"] {
                    message[key] = event[key].clone();
                }
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    message
}

/// A message without what differs between two answers to the same question.
fn settled(mut message: Value) -> Value {
    for key in ["id", "secateur"] {
        assert!(message.as_object_mut().unwrap().remove(key).is_some(), "{key}: {message}");
    }
    for block in message["content"].as_array_mut().unwrap() {
        if let Some(id) = block.get_mut("id") {
            assert!(id.take().as_str().unwrap().starts_with("toolu_"));
        }
    }
    message
}

fn tools(extra: Value) -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = json!({"tools": [{"name": "look_up", "description": "d", "input_schema": schema}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn rendered(cluster: &Cluster) -> String {
    text_of(&cluster.prefill[0].script.prefill_request.lock().unwrap().as_ref().unwrap().tokens)
}

/// The error of a failure: its status, and the body without its message.
async fn error(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let id = response.headers()["request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!((body["type"].as_str(), body["request_id"].as_str()), (Some("error"), Some(id.as_str())), "{body}");
    assert!(body["error"]["message"].is_string(), "{body}");
    (status, json!([body["error"]["type"], body["error"]["param"]]))
}

#[tokio::test]
async fn a_message_is_answered_with_a_receipt() {
    let cluster = Cluster::one().await;
    cluster.prefill[0].script.cached_positions.store(4, Ordering::SeqCst);
    let system = json!([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]);
    let asked = body(json!({"model": "tiny", "system": system, "metadata": {"user_id": "u"}}));
    let response =
        cluster.client.post(cluster.url(URL)).header("x-request-id", "r7").json(&asked).send().await.unwrap();
    for header in ["request-id", "x-request-id"] {
        assert_eq!(response.headers()[header], "r7");
    }
    let reply: Value = response.json().await.unwrap();
    let epoch = reply["secateur"]["epoch"].as_str().unwrap();
    assert_eq!(
        (reply["id"].as_str().unwrap(), reply["secateur"]["prefill_node"].as_str()),
        (&*format!("msg_{epoch}"), Some("p0"))
    );
    let prompt = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().tokens.len();
    let expected = json!({
        "type": "message", "role": "assistant", "model": "tiny", "content": [{"type": "text", "text": "hello world"}],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {
            "input_tokens": prompt - 4, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0,
            "output_tokens": answer_tokens("hello world").len() - 1,
        },
    });
    assert_eq!(settled(reply), expected);
    assert!(rendered(&cluster).contains("SYSTEM: Be brief.\nUSER: hi\n"), "{}", rendered(&cluster));
    let generate = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
    assert_eq!(generate.max_new_tokens, 100);
}

#[tokio::test]
async fn a_stream_adds_up_to_the_message_in_one_piece() {
    let cluster = Cluster::one().await;
    for (text, extra, reason, stop) in [
        ("hello world", json!({}), "end_turn", Value::Null),
        ("héllo 👩‍👩‍👧 你好\n\n", json!({}), "end_turn", Value::Null),
        ("hello world", json!({"stop_sequences": ["xyz", "o w"]}), "stop_sequence", json!("o w")),
        ("hello world", json!({"max_tokens": 3}), "max_tokens", Value::Null),
        ("", json!({}), "end_turn", Value::Null),
    ] {
        say(&cluster, text);
        let whole = ask(&cluster, extra.clone()).await;
        assert_eq!((&whole["stop_reason"], &whole["stop_sequence"]), (&json!(reason), &stop), "{text}");
        let events = stream(&cluster, extra).await;
        assert_eq!(settled(added_up(&events)), settled(whole));
    }
    let whole = ask(&cluster, json!({"stop_sequences": ["o w"]})).await;
    assert_eq!(whole["content"], json!([]), "an empty answer has no block");
}

#[tokio::test]
async fn calls_are_blocks_of_their_own() {
    let (cluster, _folder) = cluster_with(TEMPLATE, &format!("Let me see. {CALL}\n{CALL}")).await;
    let long = || tools(json!({"max_tokens": 300}));
    let whole = ask(&cluster, long()).await;
    assert_eq!(whole["stop_reason"], "tool_use");
    assert_ne!(whole["content"][1]["id"], whole["content"][2]["id"]);
    let call = json!({"type": "tool_use", "id": null, "name": "look_up", "input": {"city": "Oslo"}});
    let expected = json!([{"type": "text", "text": "Let me see. "}, call, call]);
    assert_eq!(settled(whole.clone())["content"], expected);
    assert_eq!(settled(added_up(&stream(&cluster, long()).await)), settled(whole));
    let single = tools(json!({"max_tokens": 300, "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}));
    assert_eq!(ask(&cluster, single).await["content"].as_array().unwrap().len(), 2);

    let inputs = |events: &[Value]| events.iter().filter(|event| event["delta"]["type"] == "input_json_delta").count();
    assert_eq!(inputs(&stream(&cluster, long()).await), 2, "an input is sent when it is complete");
    let mut eager = long();
    eager["tools"][0]["eager_input_streaming"] = true.into();
    let events = stream(&cluster, eager).await;
    assert!(inputs(&events) > 4, "and while it is written where that is asked for");
    assert_eq!(settled(added_up(&events))["content"], expected);
}

#[tokio::test]
async fn a_forced_call_is_a_grammar_and_a_form_is_one_too() {
    let (cluster, _folder) = cluster_with(TEMPLATE, CALL).await;
    let grammar = || {
        let request = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap();
        request.sampling.unwrap().grammar.and_then(|grammar| grammar.kind)
    };
    for choice in [json!({"type": "any"}), json!({"type": "tool", "name": "look_up"})] {
        ask(&cluster, tools(json!({"tool_choice": choice}))).await;
        let Some(Kind::Lark(lark)) = grammar() else { panic!("no grammar") };
        assert!(lark.contains("look_up"), "{lark}");
    }
    ask(&cluster, tools(json!({"tool_choice": {"type": "none"}}))).await;
    assert!(grammar().is_none());
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    ask(&cluster, json!({"output_config": {"format": format}})).await;
    assert_eq!(grammar(), Some(Kind::JsonSchema("{\"type\":\"object\"}".into())));
}

#[tokio::test]
async fn a_history_with_calls_is_rendered() {
    let (cluster, _folder) = cluster_with(TEMPLATE, "It rains.").await;
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Oslo"}});
    let result = json!({"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": "no such city"});
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
    ]);
    let reply = ask(&cluster, tools(json!({"messages": messages}))).await;
    assert_eq!(reply["content"][0]["text"], "It rains.");
    let rendered = rendered(&cluster);
    let expected = "<tool_call>look_up</tool_call>tool: Error: no such cityuser: And?assistant: ";
    assert!(rendered.ends_with(expected), "{rendered}");
}

#[tokio::test]
async fn thoughts_are_a_block_of_their_own() {
    let (cluster, _folder) = cluster_with(THINKING, "<think>\nhm, so\n</think>\n\nYes.").await;
    let thinking = |extra: Value| {
        let mut thinking = json!({"type": "enabled", "budget_tokens": 50});
        thinking.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"thinking": thinking})
    };
    let whole = ask(&cluster, thinking(json!({}))).await;
    let text = json!({"type": "text", "text": "Yes."});
    let expected = json!([{"type": "thinking", "thinking": "hm, so", "signature": ""}, text]);
    assert_eq!(whole["content"], expected);
    assert!(rendered(&cluster).ends_with("assistant: "), "{}", rendered(&cluster));
    assert_eq!(settled(added_up(&stream(&cluster, thinking(json!({}))).await)), settled(whole));
    assert_eq!(ask(&cluster, thinking(json!({"display": "omitted"}))).await["content"], json!([text]));
    say(&cluster, "Yes.");
    assert_eq!(ask(&cluster, json!({"thinking": {"type": "disabled"}})).await["content"], json!([text]));
    assert!(rendered(&cluster).ends_with("assistant: <think></think>"), "{}", rendered(&cluster));
}

#[tokio::test]
async fn an_answer_goes_on_where_the_last_message_ends() {
    let cluster = Cluster::one().await;
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Sure, "}]);
    let reply = ask(&cluster, json!({"messages": messages})).await;
    assert_eq!(reply["content"], json!([{"type": "text", "text": "hello world"}]));
    assert!(rendered(&cluster).ends_with("USER: hi\nASSISTANT: Sure, "), "{}", rendered(&cluster));
    let (shouts, _folder) = cluster_with("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "x").await;
    let response = shouts.post_to(URL, &body(json!({"messages": messages}))).await;
    assert_eq!(error(response).await, (400, json!(["invalid_request_error", "messages[1].content"])));
}

#[tokio::test]
async fn pictures_are_sent_and_counted() {
    let cluster = Cluster::one().await;
    let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
    let content = json!([{"type": "image", "source": source}, {"type": "text", "text": "what?"}]);
    let asked = json!({"messages": [{"role": "user", "content": content}]});
    let reply = ask(&cluster, asked.clone()).await;
    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    assert_eq!(request.images.len(), 1);
    assert_eq!(reply["usage"]["input_tokens"], request.tokens.len() + 15);
    let count = cluster.post_to("/v1/messages/count_tokens", &asked).await;
    assert_eq!(count.status(), 200);
    assert_eq!(count.json::<Value>().await.unwrap(), json!({"input_tokens": request.tokens.len() + 15}));
    cluster.prefill[0].script.set(Act::Refuse(
        ServiceError::new(ErrorCode::InvalidImage, "the picture is cut short").with_param("images[0]"),
    ));
    let refused = cluster.post_to(URL, &body(asked)).await;
    let param = "messages[0].content[0].source.data";
    assert_eq!(error(refused).await, (400, json!(["invalid_request_error", param])));
}

#[tokio::test]
async fn a_count_takes_tools_and_system_into_account() {
    let (cluster, _folder) = cluster_with(TEMPLATE, "x").await;
    let path = "/v1/messages/count_tokens";
    for asked in [question(json!({})), question(tools(json!({"system": "Be brief."})))] {
        let count: Value = cluster.post_to(path, &asked).await.json().await.unwrap();
        let usage = ask(&cluster, asked).await["usage"].clone();
        assert_eq!(count, json!({"input_tokens": usage["input_tokens"]}));
    }
    let other = cluster.post_to(path, &question(json!({"model": "other"}))).await;
    assert_eq!(error(other).await, (404, json!(["not_found_error", "model"])));
    let nothing = cluster.post_to(path, &json!({})).await;
    assert_eq!(error(nothing).await, (400, json!(["invalid_request_error", "messages"])));
}

#[tokio::test]
async fn every_failure_has_anthropics_body() {
    let cluster = Cluster::start(1, 1, &["--api-key", "k"]).await;
    let send = async |method: Method, path: &str, body: Value| {
        error(cluster.client.request(method, cluster.url(path)).bearer_auth("k").json(&body).send().await.unwrap())
            .await
    };
    for (method, path, extra, expected) in [
        (Method::POST, URL, json!({"temperature": 2}), (400, json!(["invalid_request_error", "temperature"]))),
        (Method::POST, URL, json!({"model": "x"}), (404, json!(["not_found_error", "model"]))),
        (Method::POST, URL, json!({"max_tokens": 513}), (400, json!(["invalid_request_error", "max_tokens"]))),
        (Method::POST, URL, tools(json!({})), (400, json!(["invalid_request_error", "tools"]))),
        (
            Method::POST,
            URL,
            json!({"output_config": {"effort": "low"}}),
            (400, json!(["invalid_request_error", "output_config.effort"])),
        ),
        (Method::PUT, URL, json!({}), (405, json!(["invalid_request_error", null]))),
        (Method::POST, "/v1/messages/batches", json!({}), (404, json!(["not_found_error", null]))),
    ] {
        assert_eq!(send(method, path, body(extra)).await, expected);
    }
    let asked = body(json!({"output_config": {"effort": "low"}}));
    let effort = cluster.client.post(cluster.url(URL)).bearer_auth("k").json(&asked).send().await.unwrap();
    let effort: Value = effort.json().await.unwrap();
    assert!(effort["error"]["message"].as_str().unwrap().starts_with("output_config.effort "), "{effort}");
    let missing = send(Method::POST, URL, json!({"messages": [{"role": "user", "content": "hi"}]})).await;
    assert_eq!(missing, (400, json!(["invalid_request_error", "max_tokens"])));
    let locked = cluster.post_to(URL, &body(json!({}))).await;
    assert_eq!(error(locked).await, (401, json!(["authentication_error", null])));
    let other = cluster.client.post(cluster.url("/v1/messagesx")).send().await.unwrap();
    assert_eq!(other.json::<Value>().await.unwrap()["error"]["type"], "invalid_request_error", "another route");
    cluster.decode[0].script.set(Act::Skip(2));
    assert_eq!(send(Method::POST, URL, body(json!({}))).await, (500, json!(["api_error", null])));
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_an_event() {
    let cluster = Cluster::one().await;
    cluster.decode[0].script.set(Act::Skip(2));
    let events = stream(&cluster, json!({})).await;
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")), "{last}");
    assert!(events.iter().all(|event| event["type"] != "message_stop"));
}
