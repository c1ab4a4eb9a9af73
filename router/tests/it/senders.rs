//! Slow senders beside a client that has something to ask.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::support::{
    raw::{Answer, answer, head, json_of},
    router::{Cluster, question, until},
};

const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// Sends a byte every four seconds until it is answered.
async fn drip(mut stream: TcpStream) -> Option<Answer> {
    let (mut reads, mut writes) = stream.split();
    let drops = async {
        loop {
            if writes.write_all(b" ").await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    };
    let mut bytes = vec![0; 4096];
    tokio::select! {
        () = drops => None,
        read = tokio::io::AsyncReadExt::read(&mut reads, &mut bytes) => {
            let text = String::from_utf8_lossy(&bytes[..read.ok()?]).into_owned();
            Some(Answer { text })
        }
    }
}

#[tokio::test]
async fn drips_keep_nobody_else_waiting_and_are_cut() {
    const DRIPS: usize = 330;
    let cluster = Cluster::one().await;
    let mut drips = JoinSet::new();
    for _ in 0..DRIPS {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        stream.write_all(&head("POST", CHAT, &json_of(4096))).await.unwrap();
        drips.spawn(drip(stream));
    }
    let cut = Arc::new(AtomicUsize::new(0));
    let counted = cut.clone();
    let drips = tokio::spawn(async move {
        while let Some(answered) = drips.join_next().await {
            let answered = answered.unwrap().expect("a drip is answered");
            assert_eq!(answered.status(), 408, "{}", answered.text);
            assert!(answered.has("connection: close"));
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let begun = Instant::now();
    let mut asked = 0;
    while cut.load(Ordering::SeqCst) < DRIPS {
        cluster.ask(json!({})).await;
        asked += 1;
        assert!(begun.elapsed() < Duration::from_secs(60), "{} drips were cut", cut.load(Ordering::SeqCst));
        assert!(!drips.is_finished() || cut.load(Ordering::SeqCst) == DRIPS);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drips.await.unwrap();
    println!("{asked} of {asked} requests beside {DRIPS} drips were answered in {:?}", begun.elapsed());
}

async fn held(cluster: &Cluster) -> usize {
    let page = cluster.get("/metrics").await.text().await.unwrap();
    let line = page.lines().find(|line| line.starts_with("secateur_request_bytes_held{")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn half_sent_bodies_hold_what_they_may_and_no_more() {
    const SENDERS: usize = 20;
    let cluster = Cluster::start(1, 1, &["--max-body-bytes", "16777216", "--max-held-bytes", "67108864"]).await;
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        senders.spawn(async move {
            stream.write_all(&head("POST", CHAT, &json_of(16 * MIB))).await.unwrap();
            stream.write_all(&vec![b' '; 8 * MIB]).await.unwrap();
            answer(&mut stream).await.unwrap()
        });
    }
    // Large bodies of one peer have three eighths of all: three of these.
    for _ in 3..SENDERS {
        let answered = senders.join_next().await.unwrap().unwrap();
        assert_eq!((answered.status(), answered.code().as_deref()), (429, Some("overloaded")), "{}", answered.text);
        assert!(answered.has("retry-after:"));
    }
    until("the others have sent their halves", async || held(&cluster).await >= 7 * MIB).await;
    assert!(held(&cluster).await <= 24 * MIB);
    let body = question(json!({"metadata": "x".repeat(200_000)}));
    assert_eq!(cluster.post(&body).await.status(), 200, "a body of usual size has its room");
    let mut stopped = 0;
    while let Some(answered) = senders.join_next().await {
        stopped += usize::from(answered.unwrap().status() == 408);
    }
    assert!(stopped > 0, "none goes on for ever");
    until("nothing is held", async || held(&cluster).await == 0).await;
    assert_eq!(cluster.post(&question(json!({"metadata": "x".repeat(MIB)}))).await.status(), 200);
}

#[tokio::test]
async fn a_body_that_was_only_announced_takes_nothing() {
    let cluster = Cluster::start(1, 1, &["--max-body-bytes", "1048576", "--max-held-bytes", "8388608"]).await;
    let mut announced = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        stream.write_all(&head("POST", CHAT, &json_of(MIB))).await.unwrap();
        announced.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(held(&cluster).await, 0);
    assert_eq!(cluster.post(&question(json!({"metadata": "x".repeat(MIB / 2)}))).await.status(), 200);
}

#[tokio::test]
async fn connections_that_say_nothing_make_room() {
    let cluster = Cluster::start(1, 1, &["--max-connections", "12"]).await;
    let mut silent = Vec::new();
    for index in 0..40 {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        if index % 2 == 0 {
            stream.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..3 {
        // Each from a connection of its own.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let asked = client.post(cluster.url(CHAT)).json(&question(json!({}))).send();
        let response = tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
    }
    let ended = async |stream: &mut TcpStream| {
        let mut bytes = [0; 10];
        let read = tokio::io::AsyncReadExt::read(stream, &mut bytes);
        !matches!(tokio::time::timeout(Duration::from_millis(10), read).await, Err(_) | Ok(Ok(1..)))
    };
    let mut gone = 0;
    for stream in &mut silent {
        gone += usize::from(ended(stream).await);
    }
    assert!(gone >= 34, "one address has six permits: {gone} of 40 were closed");
}

/// Hundreds of clients on one address, as a benchmark has them, each with its body in two pieces.
#[tokio::test]
async fn hundreds_of_clients_of_one_address_are_served() {
    let cluster = Arc::new(Cluster::start(1, 1, &["--max-waiting", "1000"]).await);
    let mut clients = JoinSet::new();
    for _ in 0..600 {
        let cluster = cluster.clone();
        clients.spawn(async move {
            let body = question(json!({"metadata": "x".repeat(20_000)})).to_string().into_bytes();
            let mut stream = TcpStream::connect(cluster.address).await.unwrap();
            stream.write_all(&head("POST", CHAT, &json_of(body.len()))).await.unwrap();
            stream.write_all(&body).await.unwrap();
            answer(&mut stream).await.unwrap().status()
        });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}
