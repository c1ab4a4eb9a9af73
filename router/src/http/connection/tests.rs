//! Connections over real sockets, in front of routes that need no model.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    http::{Method, Request, Response, Version},
    middleware,
    routing::{get, post},
};
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use rcgen::{CertificateParams, KeyPair};
use secateur_channel::Certificate;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::*;
use crate::{
    admission::Bounds,
    http::{connections::Connections, limit, rest, stall},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(90);
const MANY: Bounds = Bounds { total: 100, peer: 100 };
const BIG: usize = 3_000_000;
/// The beginning of every HTTP/2 connection: the preface and a frame of settings, which are the protocol's own.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const GOAWAY: u8 = 7;

/// A listener with its connections.
struct Door {
    address: SocketAddr,
    closing: CancellationToken,
}

impl Door {
    async fn open(tls: Option<tls::Configuration>, requests: Bounds) -> Self {
        Self::with(tls, requests, MANY).await
    }

    async fn with(tls: Option<tls::Configuration>, requests: Bounds, lingering: Bounds) -> Self {
        let version = async |version: Version| format!("{version:?}");
        let routes = Router::new()
            .route("/version", get(version))
            .route("/big", get(async || "x".repeat(BIG)))
            .route("/never", get(async || std::future::pending::<()>().await))
            .route("/count", post(async |body: Bytes| body.len().to_string()))
            .route("/deaf", post(async || "heard nothing"))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(middleware::from_fn(limit::check))
            .layer(middleware::from_fn(rest::settle));
        let closing = CancellationToken::new();
        let (requests, lingering) = (Permits::new(requests), Permits::new(lingering));
        let front = Front { routes, requests, lingering, tls, closing: closing.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let connections = Connections::new(MANY);
            while let Ok((stream, peer)) = listener.accept().await {
                let seat = connections.enter(peer.ip().into()).unwrap();
                tokio::spawn(stall::watched(serve(front.clone(), stream, seat)));
            }
        });
        Self { address, closing }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// An HTTP/2 connection whose client begins with these settings.
async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, builder: &Builder) -> SendRequest<Bytes> {
    let (client, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn send(client: &SendRequest<Bytes>, method: Method, path: &str, body: Vec<u8>) -> ResponseFuture {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}")).body(()).unwrap();
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut stream) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body.into(), true).unwrap();
    }
    answer
}

async fn whole(answer: ResponseFuture) -> (u16, String) {
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
    let status = answer.status().as_u16();
    (status, timeout(PATIENCE, text(answer)).await.unwrap().unwrap())
}

async fn text(answer: Response<RecvStream>) -> Result<String, h2::Error> {
    let (mut body, mut bytes) = (answer.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        let data = match data {
            Ok(data) => data,
            // The answer is whole; the request's body need not be.
            Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(String::from_utf8(bytes).unwrap())
}

async fn fetched(client: &SendRequest<Bytes>, path: &str) -> (u16, String) {
    whole(send(client, Method::GET, path, Vec::new()).await).await
}

async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// What comes back for a request in HTTP/1.1.
async fn told(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(to_end(&mut stream).await).unwrap()
}

/// The types of all frames until the router closes the connection.
async fn frames(stream: &mut TcpStream) -> Vec<u8> {
    let bytes = to_end(stream).await;
    let (mut types, mut rest) = (Vec::new(), bytes.as_slice());
    while let [high, middle, low, kind, ..] = rest {
        types.push(*kind);
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    types
}

#[tokio::test]
async fn both_versions_are_answered_whole() {
    let door = Door::open(None, MANY).await;
    let answer = told(door.connect().await, "/version").await;
    assert!(answer.ends_with("\r\n\r\nHTTP/1.1"), "{answer}");
    let answer = told(door.connect().await, "/big").await;
    assert!(answer.contains(&format!("content-length: {BIG}\r\n")) && answer.len() > BIG);
    let client = http2(door.connect().await, &Builder::new()).await;
    assert_eq!(fetched(&client, "/version").await, (200, "HTTP/2.0".to_owned()));
    assert_eq!(client.current_max_send_streams(), 128);
    let answers = futures::future::join_all((0..40).map(|_| fetched(&client, "/big"))).await;
    assert!(answers.iter().all(|(status, text)| *status == 200 && text.len() == BIG));
    let sent = send(&client, Method::POST, "/count", vec![b' '; BIG]).await;
    assert_eq!(whole(sent).await, (200, BIG.to_string()));
    for _ in 0..3 {
        let unread = send(&client, Method::POST, "/deaf", vec![b' '; BIG]).await;
        assert_eq!(whole(unread).await, (200, "heard nothing".to_owned()));
    }
    let head = send(&client, Method::HEAD, "/big", Vec::new()).await.await.unwrap();
    assert_eq!(head.headers()["content-length"], BIG.to_string());
}

#[tokio::test]
async fn requests_over_http_2_are_bounded_over_all_connections_of_a_peer() {
    let door = Door::open(None, Bounds { total: 4, peer: 2 }).await;
    let one = http2(door.connect().await, &Builder::new()).await;
    let other = http2(door.connect().await, &Builder::new()).await;
    let first = send(&one, Method::GET, "/never", Vec::new()).await;
    let second = send(&other, Method::GET, "/never", Vec::new()).await;
    let refused = async || fetched(&one, "/version").await.0 == 429;
    timeout(PATIENCE, async { while !refused().await {} }).await.unwrap();
    assert!(told(door.connect().await, "/version").await.starts_with("HTTP/1.1 200"));
    drop(first);
    timeout(PATIENCE, async { while refused().await {} }).await.unwrap();
    drop(second);
}

/// All of it in one test, as each part takes half a minute.
#[tokio::test]
async fn clients_that_do_nothing_are_let_go() {
    tokio::join!(
        who_takes_nothing_loses_the_stream_alone(),
        http_1_clients_must_take_their_answers_too(),
        connections_without_a_request_are_let_go(),
        handshakes_must_go_on(),
    );
}

async fn who_takes_nothing_loses_the_stream_alone() {
    let door = Door::open(None, Bounds { total: 9, peer: 2 }).await;
    let client = http2(door.connect().await, Builder::new().initial_window_size(0)).await;
    let stuck = send(&client, Method::GET, "/version", Vec::new()).await.await.unwrap();
    let kept = send(&client, Method::GET, "/never", Vec::new()).await;
    let reset = timeout(PATIENCE, text(stuck)).await.unwrap().unwrap_err();
    assert_eq!(reset.reason(), Some(Reason::CANCEL), "{reset}");
    let next = send(&client, Method::GET, "/version", Vec::new()).await.await.unwrap();
    assert_eq!(next.status(), 200, "what the stuck stream held is free again");
    assert!(kept.now_or_never().is_none());
}

async fn http_1_clients_must_take_their_answers_too() {
    let door = Door::with(None, MANY, Bounds { total: 0, peer: 0 }).await;
    let mut stream = door.connect().await;
    // More than sockets hold on both sides.
    stream.write_all("GET /big HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20).as_bytes()).await.unwrap();
    let closed = async {
        while stream.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}

async fn connections_without_a_request_are_let_go() {
    let door = Door::open(None, MANY).await;
    let mut quiet = door.connect().await;
    quiet.write_all(BEGINNING).await.unwrap();
    let mut half = door.connect().await;
    half.write_all(&BEGINNING[..10]).await.unwrap();
    let mut silent = door.connect().await;
    let (frames, half, silent) = tokio::join!(frames(&mut quiet), to_end(&mut half), to_end(&mut silent));
    assert!(frames.contains(&GOAWAY), "{frames:?}");
    assert!(half.is_empty() && silent.is_empty());
}

#[tokio::test]
async fn closing_says_goodbye_and_lets_requests_end() {
    let door = Door::open(None, MANY).await;
    let mut quiet = door.connect().await;
    quiet.write_all(BEGINNING).await.unwrap();
    let client = http2(door.connect().await, &Builder::new()).await;
    let answer = send(&client, Method::GET, "/big", Vec::new()).await.await.unwrap();
    door.closing.cancel();
    assert_eq!(text(answer).await.unwrap().len(), BIG);
    assert!(frames(&mut quiet).await.contains(&GOAWAY));
    let is_open = async || client.clone().ready().await.is_ok();
    timeout(PATIENCE, async { while is_open().await {} }).await.unwrap();
}

/// A certificate in force, and what a client must trust.
fn certificate() -> (tls::Configuration, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pair = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
    std::fs::write(&cert, made.pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    let flags = [("--cert", Some(cert.as_path())), ("--key", Some(key.as_path()))];
    let certificate = Certificate::open(flags, protocol::PROTOCOLS).unwrap().unwrap();
    (certificate.configuration(), made.der().clone())
}

async fn shake(door: &Door, trusted: &CertificateDer<'static>, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, door.connect().await).await.unwrap()
}

#[tokio::test]
async fn over_tls_both_sides_agree_on_the_version() {
    let (configuration, trusted) = certificate();
    let door = Door::open(Some(configuration), MANY).await;
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        let answer = told(shake(&door, &trusted, protocols).await, "/version").await;
        assert!(answer.ends_with("\r\n\r\nHTTP/1.1"), "{answer}");
    }
    let answer = told(shake(&door, &trusted, &[]).await, "/big").await;
    assert!(answer.len() > BIG);
    let client = http2(shake(&door, &trusted, &[b"h2", b"http/1.1"]).await, &Builder::new()).await;
    assert_eq!(fetched(&client, "/version").await, (200, "HTTP/2.0".to_owned()));
    assert_eq!(fetched(&client, "/big").await.1.len(), BIG);
}

#[tokio::test]
async fn without_tls_there_is_a_clear_answer() {
    let door = Door::open(Some(certificate().0), MANY).await;
    let answer = told(door.connect().await, "/version").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    let mut broken = door.connect().await;
    broken.write_all(&[[0x16, 3, 1, 0, 4].as_slice(), &[0xff; 64]].concat()).await.unwrap();
    to_end(&mut broken).await;
}

async fn handshakes_must_go_on() {
    let door = Door::open(Some(certificate().0), MANY).await;
    let mut half = door.connect().await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let mut silent = door.connect().await;
    tokio::join!(to_end(&mut half), to_end(&mut silent));
}
