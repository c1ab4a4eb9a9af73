//! Tests of the whole command except its printing, against a router that answers as instructed; and helpers of other
//! tests.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex, time::sleep};

use super::{
    Task,
    arguments::EvalArguments,
    case_run::{Answer, Outcome},
    combination::Combination,
    combination_run::{Measured, Refused},
    findings::Findings,
    host::Host,
    measure,
    receipt::Receipt,
    verdict,
};
use crate::client::visual::Visual;
use crate::suite::{
    Case,
    expected::{Expected, Match},
};

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    arguments: EvalArguments,
}

pub fn try_arguments(flags: &[&str]) -> Result<EvalArguments, clap::Error> {
    let flags = std::iter::once("eval").chain(flags.iter().copied());
    Program::try_parse_from(flags).map(|program| program.arguments)
}

pub fn arguments(flags: &[&str]) -> EvalArguments {
    try_arguments(flags).unwrap()
}

/// A case with an answer.
pub fn case(tags: &[&str], depth: Option<f64>) -> Case {
    Case {
        id: String::new(),
        images: Vec::new(),
        earlier: Vec::new(),
        prompt: String::new(),
        answer: Expected::new("a".to_owned(), Match::Exact).ok(),
        max_tokens: None,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        depth,
    }
}

/// Two combinations of four cases, from canned receipts; one request failed, and one method is refused.
pub fn findings(arguments: &EvalArguments, norm_correlation: f64) -> Findings<'_> {
    let cases = vec![
        case(&["single"], None),
        case(&["single"], None),
        case(&["text", "needle"], Some(0.0)),
        case(&["text", "needle"], Some(1.0)),
    ];
    let cases: &[Case] = cases.leak();
    let suite = Path::new(arguments.suite.as_deref().unwrap());
    let mut findings = Findings::new(arguments, suite, cases);
    let outcome = |is_right: bool, bytes_sent: u64, norm_correlation: Option<f64>| {
        let receipt = Receipt {
            method: if norm_correlation.is_some() { "trimtokenator" } else { "none" }.to_owned(),
            bytes_sent,
            bytes_unpruned: 500,
            norm_correlation,
            ..Receipt::default()
        };
        let text = if is_right { "a" } else { "b" }.to_owned();
        Outcome::Answered(Box::new(Answer {
            text,
            is_right: Some(is_right),
            receipt: Some(receipt),
            ..Answer::default()
        }))
    };
    let pruned = Combination {
        visual: Visual { method: "trimtokenator".to_owned(), keep: Some(0.1) },
        ..Combination::reference()
    };
    let correlation = Some(norm_correlation);
    findings.model = "m".to_owned();
    findings.measured = vec![
        Measured { combination: Combination::reference(), outcomes: vec![outcome(true, 500, None); 4] },
        Measured {
            combination: pruned,
            outcomes: vec![
                outcome(true, 100, correlation),
                outcome(false, 100, correlation),
                outcome(true, 100, correlation),
                Outcome::Failed,
            ],
        },
    ];
    let magic = Visual { method: "magic".to_owned(), keep: None };
    let combination = Combination { visual: magic, ..Combination::reference() };
    findings.refused = vec![Refused { combination, message: "must be one of auto, none".to_owned() }];
    findings
}

/// Behaviour of the test router, and its counters.
#[derive(Default)]
struct Fake {
    /// Every how many-th request fails; 0 for none.
    fails_every: usize,
    asked: AtomicUsize,
    flying: AtomicUsize,
    flying_max: AtomicUsize,
    bodies: Mutex<Vec<Value>>,
}

async fn serve(fake: Fake) -> (Arc<Fake>, String) {
    let fake = Arc::new(fake);
    let app = Router::new()
        .route("/v1/models", get(|| async { Json(json!({"data": [{"id": "fake"}]})) }))
        .route("/v1/chat/completions", post(answer))
        .with_state(fake.clone());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (fake, url)
}

/// Answers with the prompt, but prompts that begin with `hard` are only answered so if nothing is pruned.
async fn answer(State(fake): State<Arc<Fake>>, Json(body): Json<Value>) -> Response {
    let number = fake.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let flying = fake.flying.fetch_add(1, Ordering::SeqCst) + 1;
    fake.flying_max.fetch_max(flying, Ordering::SeqCst);
    sleep(Duration::from_millis(5)).await;
    fake.flying.fetch_sub(1, Ordering::SeqCst);
    fake.bodies.lock().await.push(body.clone());
    if fake.fails_every > 0 && number.is_multiple_of(fake.fails_every) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": {"message": "no room"}}))).into_response();
    }
    let visual = &body["secateur"]["visual"];
    if visual["method"] == "magic" {
        let error = json!({"error": {"message": "must be one of auto, none", "param": "secateur.visual.method"}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    let parts = body["messages"][0]["content"].as_array().unwrap();
    let prompt = parts.last().unwrap()["text"].as_str().unwrap();
    let is_pruned = visual["method"] != "none";
    let text = if is_pruned && prompt.starts_with("hard") { "?" } else { prompt };
    let receipt = json!({"plan": "", "visual": {"method": visual["method"]},
        "transfer": {"bytes_sent": if is_pruned { 20 } else { 100 }, "bytes_unpruned": 100}});
    // White space at the ends makes no different answer.
    let message = json!({"role": "assistant", "content": format!(" {text}\n")});
    Json(json!({"choices": [{"message": message}], "secateur": receipt})).into_response()
}

const SUITE: &str = r#"{"images": ["a.png", "data:,x"], "prompt": "easy one", "answer": "easy one", "tags": ["single"]}
{"prompt": "hard two", "answer": "hard two", "tags": ["single"]}
{"prompt": "easy three", "answer": "easy three", "tags": ["text", "needle"], "depth": 0.5}
{"prompt": "four", "answer": "five", "tags": ["text"]}
"#;

/// Rows by combination and tag: (n, failed, accuracy, relative, bytes_ratio).
type Rows = BTreeMap<String, (usize, usize, f64, Option<f64>, Option<f64>)>;

async fn eval(url: &str, flags: &[&str]) -> (Rows, Vec<String>, anyhow::Result<()>) {
    let dir = tempfile::tempdir().unwrap();
    let suite = dir.path().join("suite.jsonl");
    fs::write(dir.path().join("a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(&suite, SUITE).unwrap();
    let arguments = arguments(&[&["--url", url, "--suite", suite.to_str().unwrap()][..], flags].concat());
    let mut host = Host::of(&arguments).unwrap();
    let task = Task::new(&arguments, &host).unwrap();
    let mut findings = Findings::new(&arguments, &task.suite, &task.cases);
    let measured = measure(&arguments, &task, &mut host, &mut findings).await;
    let mut rows = Rows::new();
    for (measured, group) in findings.measured.iter().flat_map(|m| findings.groups.iter().map(move |group| (m, group)))
    {
        let row = findings.row(measured, group).figures;
        let name = format!("{} {}{}", measured.combination.visual, group.tag, group.depth().map_or("", |_| "@"));
        let relative = row.relative.map(|relative| relative.relative);
        rows.insert(name, (row.n, row.failed, row.accuracy, relative, row.cost.bytes_ratio));
    }
    let refused = findings.refused.iter().map(|refused| refused.combination.to_string()).collect();
    let ended = measured.and_then(|()| verdict(&findings));
    (rows, refused, ended)
}

#[tokio::test]
async fn figures_are_those_of_the_answers() {
    let (fake, url) = serve(Fake::default()).await;
    let (rows, refused, ended) = eval(&url, &["--visual", "coverage:0.5", "--concurrency", "2"]).await;
    ended.unwrap();
    assert!(refused.is_empty());
    assert_eq!(rows["none all"], (4, 0, 0.75, Some(1.0), Some(1.0)));
    assert_eq!(rows["coverage:0.5 all"], (4, 0, 0.5, Some(2.0 / 3.0), Some(5.0)));
    assert_eq!(rows["coverage:0.5 single"], (2, 0, 0.5, Some(0.5), Some(5.0)));
    assert_eq!(rows["random:0.5 text"], (2, 0, 0.5, Some(1.0), Some(5.0)));
    assert_eq!(rows["keep-first:0.5 needle@"], (1, 0, 1.0, Some(1.0), Some(5.0)));
    assert_eq!((rows.len(), fake.asked.load(Ordering::SeqCst)), (4 * 5, 4 * 4));
    assert_eq!(fake.flying_max.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn requests_are_greedy_and_say_what_is_asked() {
    let (fake, url) = serve(Fake::default()).await;
    let flags =
        ["--only-given", "--visual", "coverage:0.5", "--transfer", "tiered", "--limit", "1", "--max-tokens", "7"];
    eval(&url, &flags).await.2.unwrap();
    let bodies = fake.bodies.lock().await;
    assert_eq!(bodies.len(), 1);
    let expected = json!({
        "model": "fake",
        "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            {"type": "image_url", "image_url": {"url": "data:,x"}},
            {"type": "text", "text": "easy one"},
        ]}],
        "temperature": 0,
        "max_tokens": 7,
        "secateur": {"visual": {"method": "coverage", "keep": 0.5}, "transfer": {"policy": "tiered"}},
    });
    assert_eq!(bodies[0], expected);
}

#[tokio::test]
async fn failures_count_as_wrong_and_are_no_success() {
    let (_, url) = serve(Fake { fails_every: 4, ..Fake::default() }).await;
    let (rows, _, ended) = eval(&url, &["--only-given", "--visual", "none", "--concurrency", "1"]).await;
    assert_eq!(rows["none all"], (4, 1, 0.75, Some(1.0), Some(1.0)));
    assert_eq!((rows["none text"].1, rows["none text"].2), (1, 0.5));
    assert!(ended.unwrap_err().to_string().contains("1 requests failed"));
    let (rows, _, ended) = eval("http://127.0.0.1:1", &[]).await;
    assert!(rows.is_empty() && format!("{:#}", ended.unwrap_err()).contains("is a router running"));
}

#[tokio::test]
async fn a_refused_method_is_no_wrong_answer() {
    let (fake, url) = serve(Fake::default()).await;
    let (rows, refused, ended) = eval(&url, &["--only-given", "--visual", "magic,none", "--concurrency", "1"]).await;
    assert_eq!((rows.len(), rows["none all"].2), (5, 0.75));
    assert_eq!(refused, ["magic, dense"]);
    assert!(ended.unwrap_err().to_string().contains("magic, dense"));
    // A refused combination ends with its first request.
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1 + 4);
}
