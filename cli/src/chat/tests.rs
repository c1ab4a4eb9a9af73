//! Tests of whole conversations, against a server that answers as instructed.

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{ChatArguments, Client, Input, Manner, Screen, Session, opening};
use crate::usage::Usage;

/// A file that several hold.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    arguments: ChatArguments,
}

/// Bodies that the server was sent.
type Bodies = Arc<Mutex<Vec<Value>>>;

async fn start() -> (Bodies, String) {
    let bodies = Bodies::default();
    let app = Router::new().route("/v1/chat/completions", post(answer)).with_state(bodies.clone());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (bodies, url)
}

/// Answers with the number of messages; refuses `refuse`, and breaks off at `break`.
async fn answer(State(bodies): State<Bodies>, Json(body): Json<Value>) -> Response {
    let messages = body["messages"].as_array().unwrap();
    let (count, last) = (messages.len(), messages[messages.len() - 1]["content"].clone());
    bodies.lock().unwrap().push(body);
    if last == "refuse" {
        let error = json!({"error": {"message": "not that", "param": "messages[0].content"}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let word = |word: &str| json!({"choices": [{"delta": {"content": word}}]}).to_string();
    let mut events = vec![word("answer "), word(&count.to_string())];
    if last != "break" {
        events.push(json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string());
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}});
        let transfer = json!({"bytes_sent": 1024, "bytes_unpruned": 2048});
        events.push(json!({"choices": [], "usage": usage, "secateur": {"transfer": transfer}}).to_string());
        events.push("[DONE]".to_owned());
    }
    let stream: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
    ([("content-type", "text/event-stream")], stream).into_response()
}

/// What a conversation printed, and how it ended.
struct Held {
    answers: String,
    notes: String,
    ended: anyhow::Result<()>,
}

async fn hold(url: &str, flags: &[&str], lines: &[&str], is_interactive: bool) -> Held {
    let flags = [&["chat", "--url", url, "--model", "m"], flags].concat();
    let arguments = Program::parse_from(flags).arguments;
    let client = Client::new(url, None, Duration::from_secs(60)).unwrap();
    let (answers, notes) = (Shared::default(), Shared::default());
    let screen = Screen::plain(arguments.json, Box::new(answers.clone()), Box::new(notes.clone()));
    let manner = Manner { is_interactive, is_json: arguments.json };
    let (conversation, settings) = (opening(&arguments).unwrap(), arguments.settings("m".to_owned()));
    let input = Input::given(lines.join("\n"));
    let ended = Session::new(client, settings, conversation, input, screen, manner).run().await;
    Held { answers: answers.text(), notes: notes.text(), ended }
}

fn said(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap();
    messages.iter().map(|message| message["content"].as_str().unwrap_or("[parts]").to_owned()).collect()
}

#[tokio::test]
async fn each_request_has_what_was_said_before() {
    let (bodies, url) = start().await;
    let flags = ["--system", "s", "--max-tokens", "9", "--transfer", "dense"];
    let lines =
        ["first", "two \\", "lines", "/undo", "/policy transfer=auto visual=none", "/system", "third", "/quit", "no"];
    let held = hold(&url, &flags, &lines, false).await;
    held.ended.unwrap();
    assert_eq!(held.answers, "answer 2\nanswer 4\nanswer 3\n");
    let kv = "KV 1.0 KiB of 2.0 KiB dense and unpruned (2.0 times fewer bytes), 4 of 10 prompt tokens cached";
    assert_eq!(held.notes.matches(kv).count(), 3, "{}", held.notes);
    let bodies = bodies.lock().unwrap();
    assert_eq!(said(&bodies[1]), ["s", "first", "answer 2", "two \nlines"]);
    assert_eq!(said(&bodies[2]), ["first", "answer 2", "third"]);
    assert_eq!((&bodies[0]["max_tokens"], &bodies[0]["model"]), (&json!(9), &json!("m")));
    assert_eq!(bodies[0]["secateur"], json!({"transfer": {"policy": "dense"}}));
    assert_eq!(bodies[2]["secateur"], json!({"visual": {"method": "none"}}));
}

#[tokio::test]
async fn failures_leave_the_conversation_usable() {
    let (bodies, url) = start().await;
    let lines = ["first", "refuse", "/retry", "break", "/retry", "after", "/nonsense", "/image no.png", "/stats"];
    let held = hold(&url, &[], &lines, true).await;
    held.ended.unwrap();
    assert_eq!(held.answers, "answer 1\nanswer 3\nanswer 3\nanswer 3\n");
    assert_eq!(held.notes.matches("400: not that (param: messages[0].content)").count(), 2, "{}", held.notes);
    assert_eq!(held.notes.matches("the answer broke off").count(), 2, "{}", held.notes);
    for words in ["again: break", "/nonsense", "no.png", "2 answers of 4 tokens"] {
        assert!(held.notes.contains(words), "{words}: {}", held.notes);
    }
    let bodies = bodies.lock().unwrap();
    assert_eq!(said(&bodies[5]), ["first", "answer 1", "after"]);
    assert_eq!(said(&bodies[4]), said(&bodies[3]));
}

#[tokio::test]
async fn a_script_gets_documents_and_a_status() {
    let (_, url) = start().await;
    let held = hold(&url, &["--json"], &["first", "refuse", "\"\"\"", "/open", "block"], false).await;
    assert!(held.ended.unwrap_err().to_string().contains("1 of 3 messages"));
    let documents: Vec<Value> = held.answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&documents[0]["user"], &documents[0]["assistant"]), (&json!("first"), &json!("answer 1")));
    assert_eq!((&documents[0]["usage"]["completion_tokens"], documents.len()), (&json!(2), 3));
    assert_eq!(documents[0]["receipt"]["transfer"]["bytes_sent"], 1024);
    assert!(documents[0]["seconds"].as_f64() >= documents[0]["ttft_ms"].as_f64().map(|ms| ms / 1e3));
    let error = json!({"message": "not that", "param": "messages[0].content", "status": 400});
    assert_eq!(documents[1], json!({"user": "refuse", "error": error}));
    assert_eq!(documents[2]["user"], "/open\nblock");

    let held = hold(&url, &[], &["/image no.png", "what is it?"], false).await;
    assert!(held.ended.unwrap_err().is::<Usage>() && held.answers.is_empty());
    let gone = hold("http://127.0.0.1:1", &[], &["first"], false).await;
    assert!(gone.ended.is_err() && gone.notes.contains("no answer"), "{}", gone.notes);
}

#[tokio::test]
async fn pictures_belong_to_one_message_and_all_is_saved() {
    let (bodies, url) = start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (picture, saved) = (path("a b.png"), path("saved.json"));
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n").unwrap();
    let (attach, save) = (format!("/image '{picture}'"), format!("/save '{saved}'"));
    let held = hold(&url, &["--image", &picture], &["first", "second", &attach, "third", &save], false).await;
    held.ended.unwrap();
    let bodies = bodies.lock().unwrap();
    assert_eq!(said(&bodies[2]), ["[parts]", "answer 1", "second", "answer 3", "[parts]"]);
    let saved: Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    assert_eq!(said(&saved).len(), 6);
    assert_eq!(saved["messages"][0], bodies[0]["messages"][0]);
    assert_eq!(saved["messages"][5], json!({"role": "assistant", "content": "answer 5"}));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_sent() {
    for flags in [&["--image", "no.png"][..], &["--threads", "2"]] {
        let arguments = Program::parse_from(["chat"].iter().chain(flags)).arguments;
        let error = opening(&arguments).unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains(flags[0]), "{error}");
    }
}
