//! What a client gets of an answer, however it asks, and what the cluster is left with.

use serde_json::{Value, json};

use super::router::{Cluster, until};

/// One choice of a reply.
#[derive(Debug, Default, PartialEq)]
pub struct Choice {
    pub content: String,
    /// Names and arguments.
    pub calls: Vec<(String, String)>,
    /// Log probabilities.
    pub entries: Vec<Value>,
    pub finish: String,
}

/// A reply, whether it came whole or streamed.
#[derive(Debug, PartialEq)]
pub struct Reply {
    pub choices: Vec<Choice>,
    pub completion_tokens: u64,
}

impl Reply {
    /// Content, end and tokens of an answer that is the only one.
    pub fn only(&self) -> (&str, &str, u64) {
        let [choice] = &self.choices[..] else { panic!("not one choice: {self:?}") };
        (&choice.content, &choice.finish, self.completion_tokens)
    }

    /// The bytes of the first choice's log probabilities.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.choices[0].entries.iter().flat_map(|entry| entry["bytes"].as_array().unwrap());
        bytes.map(|byte| byte.as_u64().unwrap() as u8).collect()
    }
}

/// Asks whole and streamed, each time after `prepare`, and expects the same reply, after which nothing is left.
pub async fn both_after(cluster: &Cluster, prepare: impl Fn(), extra: Value) -> Reply {
    prepare();
    let whole = whole(&cluster.ask(extra.clone()).await);
    at_rest(cluster).await;
    prepare();
    let mut streaming = extra.clone();
    streaming["stream_options"] = json!({"include_usage": true});
    let events = cluster.stream(streaming).await;
    at_rest(cluster).await;
    assert_eq!(streamed(&events), whole, "{extra}");
    whole
}

/// Asks whole and streamed.
pub async fn both(cluster: &Cluster, extra: Value) -> Reply {
    both_after(cluster, || {}, extra).await
}

/// Waits until neither the nodes nor the router's gauges have anything of a request.
pub async fn at_rest(cluster: &Cluster) {
    until("nothing is left of any request", async || {
        let view: Value = cluster.get("/v1/cluster").await.json().await.unwrap();
        let page = cluster.get("/metrics").await.text().await.unwrap();
        let held = page.lines().find(|line| line.starts_with("secateur_request_bytes_held{")).unwrap();
        let mut nodes = cluster.prefill.iter().chain(&cluster.decode);
        nodes.all(|node| node.script.active() == 0)
            && view["nodes"].as_array().unwrap().iter().all(|node| node["in_flight"] == 0)
            && view["requests"] == json!({"running": 0, "waiting": 0})
            && held.ends_with(" 0")
    })
    .await;
}

fn whole(reply: &Value) -> Reply {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let call = |call: &Value| (text(&call["function"]["name"]), text(&call["function"]["arguments"]));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let choice = |choice: &Value| Choice {
        content: text(&choice["message"]["content"]),
        calls: list(&choice["message"]["tool_calls"]).iter().map(call).collect(),
        entries: list(&choice["logprobs"]["content"]),
        finish: text(&choice["finish_reason"]),
    };
    let choices = reply["choices"].as_array().unwrap().iter().map(choice).collect();
    Reply { choices, completion_tokens: reply["usage"]["completion_tokens"].as_u64().unwrap() }
}

/// Joins a stream as clients do; each choice begins with its role and ends once, with nothing behind that.
fn streamed(events: &[Value]) -> Reply {
    let [events @ .., usage, done] = events else { panic!("no usage: {events:?}") };
    assert_eq!((done, &usage["choices"]), (&json!("[DONE]"), &json!([])));
    let mut choices: Vec<Choice> = Vec::new();
    let mut begun: Vec<bool> = Vec::new();
    for event in events {
        let part = &event["choices"][0];
        let index = part["index"].as_u64().unwrap() as usize;
        if choices.len() <= index {
            choices.resize_with(index + 1, Choice::default);
            begun.resize(index + 1, false);
        }
        let choice = &mut choices[index];
        assert_eq!(part["delta"]["role"] == "assistant", !begun[index], "the role comes first, and once: {event}");
        assert_eq!(choice.finish, "", "nothing follows the end: {event}");
        begun[index] = true;
        choice.content.push_str(part["delta"]["content"].as_str().unwrap_or_default());
        choice.entries.extend(part["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        for call in part["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(name) = call["function"]["name"].as_str() {
                choice.calls.push((name.to_owned(), String::new()));
            }
            let place = call["index"].as_u64().unwrap() as usize;
            choice.calls[place].1.push_str(call["function"]["arguments"].as_str().unwrap());
        }
        choice.finish.push_str(part["finish_reason"].as_str().unwrap_or_default());
    }
    assert!(choices.iter().all(|choice| !choice.finish.is_empty()), "each choice ends: {events:?}");
    Reply { choices, completion_tokens: usage["usage"]["completion_tokens"].as_u64().unwrap() }
}
