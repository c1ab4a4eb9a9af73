//! Tests of the whole command except its printing, against a server that streams as instructed.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore},
    time::sleep,
};

use super::{
    arguments::BenchArguments,
    link::{Link, ShapedLink},
    measure, policies,
    row::Row,
};

/// Behaviour of the test server, and its counters.
#[derive(Default)]
struct Server {
    /// Number of text chunks of each answer.
    chunks: usize,
    /// Pause before each text chunk.
    pause: Duration,
    /// Every how many-th request fails; 0 for none.
    fails_every: usize,
    /// Number of requests that answers wait for; 0 for no waiting.
    meets: usize,
    has_tokenize: bool,
    asked: AtomicUsize,
    flying: AtomicUsize,
    flying_max: AtomicUsize,
    met: Option<Semaphore>,
    bodies: Mutex<Vec<Value>>,
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    arguments: BenchArguments,
}

pub fn arguments(flags: &[&str]) -> BenchArguments {
    Program::parse_from(std::iter::once("bench").chain(flags.iter().copied())).arguments
}

async fn start(server: Server) -> (Arc<Server>, String) {
    let server = Arc::new(server);
    let app = Router::new()
        .route("/v1/models", get(|| async { Json(json!({"data": [{"id": "fake"}]})) }))
        .route("/v1/chat/completions", post(answer))
        .route("/tokenize", post(tokenize))
        .with_state(server.clone());
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (server, url)
}

/// Counts one token for each character, and five for a template.
async fn tokenize(State(server): State<Arc<Server>>, Json(body): Json<Value>) -> Response {
    if server.has_tokenize {
        Json(json!({"count": body["messages"][0]["content"].as_str().unwrap().len() + 5})).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn answer(State(server): State<Arc<Server>>, Json(body): Json<Value>) -> Response {
    server.bodies.lock().await.push(body);
    let number = server.asked.fetch_add(1, Ordering::SeqCst) + 1;
    if server.fails_every > 0 && number.is_multiple_of(server.fails_every) {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": {"message": "no room"}}))).into_response();
    }
    let flying = server.flying.fetch_add(1, Ordering::SeqCst) + 1;
    server.flying_max.fetch_max(flying, Ordering::SeqCst);
    if let Some(met) = &server.met {
        if flying == server.meets {
            met.add_permits(1_000);
        }
        drop(met.acquire().await);
    }
    let content = (0..server.chunks).map(|_| json!({"choices": [{"delta": {"content": "x"}}]}).to_string());
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 2 * server.chunks},
        "secateur": {"plan": "", "transfer": {"policy": "dense", "bytes_sent": 100, "bytes_unpruned": 250}}});
    let role = json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}).to_string();
    let events = std::iter::once(role).chain(content).chain([usage.to_string(), "[DONE]".to_owned()]);
    let pause = server.pause;
    let events = stream::iter(events.collect::<Vec<_>>()).then(move |data| {
        let server = server.clone();
        async move {
            if data.contains("\"x\"") {
                sleep(pause).await;
            }
            if data == "[DONE]" {
                server.flying.fetch_sub(1, Ordering::SeqCst);
            }
            Ok::<_, Infallible>(Bytes::from(format!("data: {data}\n\n")))
        }
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn bench(url: &str, flags: &[&str]) -> (Vec<Row>, anyhow::Result<()>) {
    let arguments = arguments(&[&["--url", url][..], flags].concat());
    let policies = policies::of(&arguments).unwrap();
    let (mut rows, mut laid) = (Vec::new(), ShapedLink::new(Link::Unshaped));
    let ended = measure(&arguments, &policies, None, &mut laid, &mut rows).await;
    (rows, ended)
}

#[tokio::test]
async fn figures_are_those_of_the_stream() {
    let pause = Duration::from_millis(20);
    let (server, url) = start(Server { chunks: 5, pause, ..Server::default() }).await;
    let (rows, ended) = bench(&url, &["--concurrency", "2", "--requests", "4", "--warmup", "1"]).await;
    ended.unwrap();
    let (row, figures) = (&rows[0], &rows[0].summary);
    assert_eq!((row.requests, row.failed, row.concurrency), (4, 0, Some(2)));
    assert_eq!((figures.bytes_sent, figures.bytes_unpruned, figures.ratio), (400, 1000, 2.5));
    assert_eq!((row.transfer.as_str(), row.visual.as_str(), row.link.as_str()), ("dense", "auto", "none"));
    // Sleeping takes at least as long as requested; the excess depends on the machine.
    assert!(figures.ttft_ms.p50.unwrap() >= 20.0);
    assert!(figures.e2e_ms.p50.unwrap() >= 100.0);
    assert!(figures.itl_ms.p99.unwrap() >= figures.itl_ms.p50.unwrap());
    // The same four gaps divided by the nine tokens after the first: the server counts two tokens per chunk.
    assert!(figures.tpot_ms.p50.unwrap() > 0.0 && figures.tpot_ms.p50.unwrap() < figures.itl_ms.p99.unwrap());
    let means = figures.means.unwrap();
    let sum = means.ttft_ms + means.tokens_after_first * means.tpot_ms.unwrap();
    assert!(means.tokens_after_first == 9.0 && (sum - means.e2e_ms).abs() < 1e-6, "{means:?}");
    let tokens = figures.output_tokens_per_s * figures.duration_s;
    assert!((tokens - 40.0).abs() < 1e-6 && (figures.prompt_tokens_per_s * figures.duration_s - 200.0).abs() < 1e-6);
    assert_eq!(server.asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn so_many_requests_are_in_flight() {
    // Answers wait for each other: with fewer requests in flight this would never end.
    let (meets, met) = (6, Some(Semaphore::new(0)));
    let (server, url) = start(Server { chunks: 1, meets, met, ..Server::default() }).await;
    let flags = ["--concurrency", "6", "--requests", "13", "--warmup", "0"];
    let (rows, ended) = tokio::time::timeout(Duration::from_secs(60), bench(&url, &flags)).await.unwrap();
    ended.unwrap();
    assert_eq!((rows[0].requests, rows[0].failed), (13, 0));
    assert_eq!(server.flying_max.load(Ordering::SeqCst), 6);
    // One chunk has text; its gap extends to the finish reason.
    assert!(rows[0].summary.itl_ms.p50.is_some());
}

#[tokio::test]
async fn failures_are_counted_and_nothing_but_failures_is_one() {
    let (_, url) = start(Server { chunks: 2, fails_every: 3, ..Server::default() }).await;
    let (rows, ended) = bench(&url, &["--rate", "500", "--requests", "9", "--warmup", "0"]).await;
    ended.unwrap();
    assert_eq!((rows[0].requests, rows[0].failed, rows[0].concurrency), (9, 3, None));
    assert_eq!(rows[0].scenario, "rate 500/s");

    let (_, url) = start(Server { fails_every: 1, ..Server::default() }).await;
    let (rows, ended) = bench(&url, &["--concurrency", "1,2", "--requests", "2"]).await;
    assert!(ended.unwrap_err().to_string().contains("every request"));
    assert_eq!((rows.len(), rows[0].failed), (1, 2));
    let (_, ended) = bench("http://127.0.0.1:1", &[]).await;
    assert!(format!("{:#}", ended.unwrap_err()).contains("is a router running"));
}

#[tokio::test]
async fn prompts_are_as_asked_and_no_two_alike() {
    let (server, url) = start(Server { chunks: 1, has_tokenize: true, ..Server::default() }).await;
    let flags = [
        "--concurrency",
        "1,2",
        "--requests",
        "3",
        "--warmup",
        "1",
        "--input-len",
        "80",
        "--output-len",
        "7",
        "--images",
        "2",
        "--visual",
        "trimtokenator:0.5",
        "--transfer",
        "dense",
    ];
    bench(&url, &flags).await.1.unwrap();
    let bodies = server.bodies.lock().await;
    assert_eq!(bodies.len(), 8);
    let mut parts: Vec<String> = Vec::new();
    for body in bodies.iter() {
        let content = body["messages"][0]["content"].as_array().unwrap();
        assert_eq!(content[2]["text"].as_str().unwrap().len(), 75);
        parts.extend(content.iter().map(Value::to_string));
        let lengths = ["max_tokens", "min_tokens"].map(|key| body[key].as_u64().unwrap());
        assert_eq!((lengths, &body["ignore_eos"], &body["model"]), ([7, 7], &json!(true), &json!("fake")));
        let asked = json!({"visual": {"method": "trimtokenator", "keep": 0.5}, "transfer": {"policy": "dense"}});
        assert_eq!(body["secateur"], asked);
    }
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), 24);
}
