//! Tools and structured output, from the body to the nodes and from the tokens to the client.

use secateur_proto::v1::grammar::Kind;
use serde_json::{Value, json};

use crate::support::{
    answer_tokens, model_with_template,
    nodes::Act,
    router::{Cluster, question},
};

/// A template in the manner of Qwen2.5's, on the tiny tokenizer.
pub const TEMPLATE: &str = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}\
    Answer within <tool_call></tool_call>.\n{% endif %}\
    {% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\
    {% for call in message.tool_calls or [] %}<tool_call>{{ call.function.name }}</tool_call>{% endfor %}\n{% endfor %}assistant: ";

/// A call in the manner of that template.
pub const CALL: &str = "<tool_call>\n{\"name\": \"look_up\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";

/// The tiny model with a template that takes tools; the folder lives as long as the test.
pub fn model_with_tools() -> tempfile::TempDir {
    model_with_template(TEMPLATE)
}

/// One pair that serves the model in `folder` and answers so.
pub async fn cluster(folder: &tempfile::TempDir, says: &str) -> Cluster {
    let cluster = Cluster::start(1, 1, &["--model", folder.path().to_str().unwrap()]).await;
    cluster.prefill[0].script.answer(answer_tokens(says));
    cluster.decode[0].script.answer(answer_tokens(says));
    cluster
}

fn tools(extra: Value) -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = json!({"tools": [{"type": "function", "function": {"name": "look_up", "parameters": parameters}}]});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The calls of a stream, put together as clients do.
fn joined_calls(events: &[Value]) -> Vec<(String, String, String)> {
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for event in events {
        for part in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if part.get("id").is_some() {
                assert_eq!((part["index"].as_u64(), &part["type"]), (Some(calls.len() as u64), &json!("function")));
                calls.push((text(&part["id"]), text(&part["function"]["name"]), String::new()));
            }
            calls[part["index"].as_u64().unwrap() as usize].2.push_str(&text(&part["function"]["arguments"]));
        }
    }
    calls
}

#[tokio::test]
async fn calls_are_taken_out_of_the_text() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, &format!("Let me see. {CALL}\n{CALL}")).await;
    let reply = cluster.ask(tools(json!({}))).await;
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &json!("Let me see. "))
    );
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0]["function"], json!({"name": "look_up", "arguments": "{\"city\": \"Oslo\"}"}));
    assert_ne!(calls[0]["id"], calls[1]["id"]);

    let request = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap();
    let seen = answer_tokens("look_up");
    assert!(request.tokens.windows(3).any(|window| seen.windows(3).any(|one| one == window)), "the model is told");
    assert!(request.sampling.unwrap().grammar.is_none(), "the model decides by itself");
}

#[tokio::test]
async fn a_stream_of_a_call_joins_to_the_call() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, CALL).await;
    let events = cluster.stream(tools(json!({}))).await;
    let calls = joined_calls(&events);
    assert_eq!(calls.len(), 1);
    assert!(calls[0].0.starts_with("call_"));
    assert_eq!((calls[0].1.as_str(), calls[0].2.as_str()), ("look_up", "{\"city\": \"Oslo\"}"));
    let words: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, "", "no part of the call is said");
    assert!(events.iter().any(|event| event["choices"][0]["finish_reason"] == "tool_calls"));
    let parts = events.iter().filter(|event| event["choices"][0]["delta"].get("tool_calls").is_some()).count();
    assert!(parts > 2, "arguments stream as they are made: {parts}");
}

/// Wherever in a call an attempt ends, nothing of the call is doubled and nothing is lost.
#[tokio::test]
async fn a_call_survives_what_happens_to_its_nodes() {
    let folder = model_with_tools();
    let says = format!("So: {CALL}\n{CALL}");
    let cluster = cluster(&folder, &says).await;
    let decode = &cluster.decode[0].script;
    let tokens = answer_tokens(&says).len();
    for at in 0..tokens - 2 {
        decode.then([Act::Preempt(at), Act::Preempt(1)]);
        let events = cluster.stream(tools(json!({}))).await;
        let calls = joined_calls(&events);
        let found: Vec<_> = calls.iter().map(|(_, name, arguments)| (name.as_str(), arguments.as_str())).collect();
        assert_eq!(found, [("look_up", "{\"city\": \"Oslo\"}"); 2], "broken off at {at}");
        assert_ne!(calls[0].0, calls[1].0);
        let words: String =
            events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(words, "So: ", "broken off at {at}");
        let ends = events.iter().filter(|event| event["choices"][0]["finish_reason"] == "tool_calls").count();
        assert_eq!(ends, 1, "broken off at {at}");
    }
}

#[tokio::test]
async fn words_stay_words() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, "1 < 2, and <tool_call> is a mark").await;
    let reply = cluster.ask(tools(json!({}))).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "1 < 2, and <tool_call> is a mark");
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    assert!(reply["choices"][0]["message"].get("tool_calls").is_none());
    // Without tools, or where none may be called, marks are text like any other.
    cluster.prefill[0].script.answer(answer_tokens(CALL));
    cluster.decode[0].script.answer(answer_tokens(CALL));
    for body in [json!({}), tools(json!({"tool_choice": "none"}))] {
        assert_eq!(cluster.ask(body).await["choices"][0]["message"]["content"], CALL);
    }
}

#[tokio::test]
async fn a_forced_call_is_a_grammar_on_both_legs() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, CALL).await;
    let named = json!({"type": "function", "function": {"name": "look_up"}});
    for choice in [json!("required"), named] {
        let reply = cluster.ask(tools(json!({"tool_choice": choice}))).await;
        assert_eq!(reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "look_up");
        let prefill = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().sampling.unwrap();
        let decode = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap().sampling.unwrap();
        assert_eq!(prefill.grammar, decode.grammar);
        let Some(Kind::Lark(grammar)) = prefill.grammar.unwrap().kind else { panic!("no grammar") };
        assert!(grammar.contains("look_up") && grammar.contains("%json"), "{grammar}");
    }
}

#[tokio::test]
async fn a_history_with_calls_is_rendered() {
    let folder = model_with_tools();
    let cluster = cluster(&folder, "It rains.").await;
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]);
    let reply = cluster.ask(tools(json!({"messages": messages}))).await;
    assert_eq!(reply["choices"][0]["message"]["content"], "It rains.");
}

#[tokio::test]
async fn a_form_of_the_answer_reaches_both_legs() {
    let cluster = Cluster::one().await;
    let schema = json!({"type": "object", "properties": {"z": {"type": "integer"}, "a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    cluster.ask(json!({"response_format": format})).await;
    let prefill = cluster.prefill[0].script.prefill_request.lock().unwrap().clone().unwrap().sampling.unwrap();
    let decode = cluster.decode[0].script.generate_request.lock().unwrap().clone().unwrap().sampling.unwrap();
    assert_eq!(prefill.grammar, decode.grammar);
    let Some(Kind::JsonSchema(found)) = prefill.grammar.unwrap().kind else { panic!("no schema") };
    assert_eq!(found, schema.to_string());
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let plain = Cluster::one().await;
    let folder = model_with_tools();
    let with_tools = cluster(&folder, CALL).await;
    let bad_schema = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "thing"}}}});
    let both = tools(json!({"tool_choice": "required", "response_format": {"type": "json_object"}}));
    for (cluster, body, param, code) in [
        (&plain, tools(json!({})), "tools", "unsupported_parameter"),
        (&plain, bad_schema, "response_format.json_schema.schema", "invalid_request"),
        (&plain, json!({"guided_regex": "("}), "guided_regex", "invalid_request"),
        (&with_tools, both, "tool_choice", "invalid_request"),
        (&with_tools, tools(json!({"tool_choice": "always"})), "tool_choice", "invalid_request"),
    ] {
        let response = cluster.post(&question(body.clone())).await;
        assert_eq!(response.status(), 400, "{body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!((&error["error"]["param"], &error["error"]["code"]), (&json!(param), &json!(code)), "{error}");
    }
}
