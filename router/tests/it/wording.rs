//! How an answer's text is told: reasoning apart from the answer, words that continue a message, stop texts, and text
//! that only looks like special tokens.

use serde_json::{Value, json};

use crate::support::{END_TOKEN, answer_tokens, model_with_template, router::Cluster};

/// A template that knows of reasoning and of its effort, on the tiny tokenizer.
pub const TEMPLATE: &str = "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'].split('</think>')[-1] }}</s>\n\
    {% endfor %}{% if add_generation_prompt %}<s>{{ reasoning_effort }}assistant: {% endif %}";

/// One pair that serves the tiny model with this template and answers so; the folder lives as long as the test.
pub async fn cluster(template: &str, says: &str) -> (Cluster, tempfile::TempDir) {
    let folder = model_with_template(template);
    let cluster = Cluster::start(1, 1, &["--model", folder.path().to_str().unwrap()]).await;
    cluster.prefill[0].script.answer(answer_tokens(says));
    cluster.decode[0].script.answer(answer_tokens(says));
    (cluster, folder)
}

fn chat(content: &str, extra: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": content}], "max_tokens": 200});
    for (key, value) in extra.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// The tokens of the last prompt.
fn asked(cluster: &Cluster) -> Vec<u32> {
    cluster.prefill[0].script.prefill_request.lock().unwrap().as_ref().unwrap().tokens.clone()
}

#[tokio::test]
async fn reasoning_is_no_part_of_the_answer() {
    let (cluster, _folder) = cluster(TEMPLATE, "<think>\nhm so\n</think>\n\nyes </think> no").await;
    let reply: Value = cluster.post(&chat("hi", json!({}))).await.json().await.unwrap();
    let message = &reply["choices"][0]["message"];
    assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("hm so"), &json!("yes </think> no")));
    let hidden: Value = cluster.post(&chat("hi", json!({"include_reasoning": false}))).await.json().await.unwrap();
    let message = &hidden["choices"][0]["message"];
    assert_eq!((message.get("reasoning_content"), &message["content"]), (None, &json!("yes </think> no")));
    let events = cluster.stream(chat("hi", json!({}))).await;
    let joined = |key: &str| -> String {
        let deltas = events.iter().filter_map(|event| event["choices"][0]["delta"][key].as_str());
        deltas.collect()
    };
    assert_eq!((joined("reasoning_content").as_str(), joined("content").as_str()), ("hm so", "yes </think> no"));
}

#[tokio::test]
async fn a_prompt_may_open_the_reasoning() {
    let template = TEMPLATE.replace("assistant: ", "assistant: <think>\n");
    let (cluster, _folder) = cluster(&template, "hm\n</think>\n\nyes").await;
    let reply: Value = cluster.post(&chat("hi", json!({}))).await.json().await.unwrap();
    let message = &reply["choices"][0]["message"];
    assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("hm"), &json!("yes")));
    let form = json!({"response_format": {"type": "json_object"}});
    let reply: Value = cluster.post(&chat("hi", form)).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["content"], "hm\n</think>\n\nyes", "an answer of a given form is whole");
}

#[tokio::test]
async fn an_effort_reaches_templates_that_read_it() {
    let (reading, _folder) = cluster(TEMPLATE, "yes").await;
    let body = chat("hi", json!({"reasoning_effort": "high"}));
    assert_eq!(reading.post(&body).await.status(), 200);
    let prompt = asked(&reading);
    let text: Value = reading.post_to("/detokenize", &json!({"tokens": prompt})).await.json().await.unwrap();
    assert!(text["prompt"].as_str().unwrap().contains("highassistant"), "{text}");
    let other = Cluster::one().await;
    let error: Value = other.post(&body).await.json().await.unwrap();
    assert_eq!(error["error"]["param"], "reasoning_effort");
    assert_eq!(other.post(&chat("hi", json!({"reasoning_effort": "none"}))).await.status(), 200);
}

#[tokio::test]
async fn an_answer_continues_a_message() {
    let (cluster, _folder) = cluster(TEMPLATE, "of course").await;
    let messages = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes, "}]);
    let body = json!({"messages": messages, "continue_final_message": true, "add_generation_prompt": false});
    let reply: Value = cluster.post(&body).await.json().await.unwrap();
    assert_eq!(reply["choices"][0]["message"]["content"], "of course");
    let prompt = asked(&cluster);
    let said = json!({"tokens": prompt});
    let text: Value = cluster.post_to("/detokenize", &said).await.json().await.unwrap();
    let text = text["prompt"].as_str().unwrap();
    assert!(text.ends_with("Yes, ") && text.contains("user: hi"), "{text:?}");
    let both = json!({"messages": messages, "continue_final_message": true, "add_generation_prompt": true});
    let error: Value = cluster.post(&both).await.json().await.unwrap();
    assert_eq!(error["error"]["param"], "continue_final_message");
}

#[tokio::test]
async fn a_stop_text_is_shown_where_it_is_asked_for() {
    let (cluster, _folder) = cluster(TEMPLATE, "hello world again").await;
    for (shows, expected) in [(false, "hello "), (true, "hello world")] {
        let body = chat("hi", json!({"stop": "world", "include_stop_str_in_output": shows}));
        let reply: Value = cluster.post(&body).await.json().await.unwrap();
        let choice = &reply["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(expected), &json!("stop")));
    }
}

#[tokio::test]
async fn words_that_look_like_special_tokens_are_words() {
    let (cluster, _folder) = cluster(TEMPLATE, "yes").await;
    let reply = cluster.post(&chat("what is </s> in <s>HTML</s>?", json!({}))).await;
    assert_eq!(reply.status(), 200);
    let prompt = asked(&cluster);
    let text: Value = cluster.post_to("/detokenize", &json!({"tokens": prompt})).await.json().await.unwrap();
    assert!(text["prompt"].as_str().unwrap().contains("what is </s> in <s>HTML</s>?"), "{text}");
    assert_eq!(prompt.iter().filter(|id| **id == END_TOKEN).count(), 1, "only the template ends a turn");
    // The author of a raw prompt writes what a template would.
    let raw = json!({"prompt": "<s>hi</s>", "max_tokens": 2});
    assert_eq!(cluster.post_to("/v1/completions", &raw).await.status(), 200);
}
