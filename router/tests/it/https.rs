//! TLS towards clients: both protocols, renewal of the certificate, and clients that do not speak it.

use std::time::Duration;

use h2::client::Builder;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::{
    http2::{Http2, whole},
    raw::{answer, head, json_of, tell},
    router::{Cluster, question, until},
    tls::{Files, connect},
};

const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(60);
/// More than the time between two looks at the files.
const LOOKED: Duration = Duration::from_secs(5);

async fn cluster(files: &Files) -> Cluster {
    let (cert, key) = (files.cert(), files.key());
    Cluster::start(1, 1, &["--http-tls-cert", &cert, "--http-tls-key", &key]).await
}

#[tokio::test]
async fn both_protocols_are_spoken() {
    let files = Files::new();
    let certificate = files.write();
    let cluster = cluster(&files).await;
    until("the router has a pair", async || {
        let client =
            Http2::over(connect(cluster.address, &certificate, &[b"h2"]).await.unwrap(), &Builder::new()).await;
        client.get("/health").await.status == 200
    })
    .await;
    let body = question(json!({})).to_string();
    let request = [&head("POST", CHAT, &json_of(body.len())), body.as_bytes()].concat();
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let mut stream = connect(cluster.address, &certificate, protocols).await.unwrap();
        for _ in 0..2 {
            stream.write_all(&request).await.unwrap();
            let told = answer(&mut stream).await.unwrap();
            assert!(told.status() == 200 && told.text.contains("hello world"), "{}", told.text);
        }
    }
    let stream = connect(cluster.address, &certificate, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let client = Http2::over(stream, &Builder::new()).await;
    let reply = whole(client.post(CHAT, &question(json!({"stream": true}))).await).await.unwrap();
    assert!(reply.status == 200 && reply.text.ends_with("data: [DONE]\n\n"), "{}", reply.text);
    cluster.shutdown.cancel();
    timeout(PATIENCE, cluster.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_speaks_without_tls_is_told_so_and_who_is_silent_is_let_go() {
    let files = Files::new();
    files.write();
    let cluster = cluster(&files).await;
    for request in [head("GET", "/live", &[]), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), vec![0; 100_000]] {
        let told = tell(cluster.address, &request).await.unwrap();
        assert_eq!((told.status(), told.code().as_deref()), (400, Some("invalid_request")), "{}", told.text);
        assert!(told.text.contains("https://"), "{}", told.text);
    }
    // Nothing, half of a handshake, and a record that is none.
    for beginning in [&b""[..], &[0x16, 3, 1, 2, 0, 1], &[[0x16, 3, 1, 0, 4].as_slice(), &[0xff; 64]].concat()] {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_make_room() {
    let files = Files::new();
    let certificate = files.write();
    let (cert, key) = (files.cert(), files.key());
    let flags = ["--http-tls-cert", &cert, "--http-tls-key", &key, "--max-connections", "12"];
    let cluster = Cluster::start(1, 1, &flags).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(cluster.address).await.unwrap();
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
        silent.push(stream);
    }
    let client = Http2::over(connect(cluster.address, &certificate, &[b"h2"]).await.unwrap(), &Builder::new()).await;
    assert_eq!(client.get("/live").await.status, 200);
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let files = Files::new();
    let old = files.write();
    let cluster = cluster(&files).await;
    let kept = Http2::over(connect(cluster.address, &old, &[b"h2"]).await.unwrap(), &Builder::new()).await;
    std::fs::write(files.cert(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    sleep(LOOKED).await;
    connect(cluster.address, &old, &[]).await.unwrap();
    let new = files.write();
    until("the new certificate is shown", async || connect(cluster.address, &new, &[]).await.is_ok()).await;
    assert!(connect(cluster.address, &old, &[]).await.is_err());
    assert_eq!(kept.get("/live").await.status, 200, "what was open stays open");
}
