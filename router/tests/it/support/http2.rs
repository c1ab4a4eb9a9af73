//! A client that speaks HTTP/2: many requests on one connection.

use std::{net::SocketAddr, time::Duration};

use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub struct Http2 {
    client: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Http2 {
    /// A connection in clear text, without having asked whether HTTP/2 is spoken.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap(), &Builder::new()).await
    }

    /// A connection over this stream.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, builder: &Builder) -> Self {
        let (client, connection) = builder.handshake(stream).await.unwrap();
        Self { client, connection: tokio::spawn(connection) }
    }

    /// Sends a whole request, with this header if it has a name.
    pub async fn send(&self, method: Method, path: &str, header: (&str, &str), body: Vec<u8>) -> ResponseFuture {
        let mut client = self.client.clone().ready().await.unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        if !header.0.is_empty() {
            request = request.header(header.0, header.1);
        }
        let (answer, mut stream) = client.send_request(request.body(()).unwrap(), body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(body.into(), true).unwrap();
        }
        answer
    }

    pub async fn post(&self, path: &str, body: &Value) -> ResponseFuture {
        self.send(Method::POST, path, ("content-type", "application/json"), body.to_string().into_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        whole(self.send(Method::GET, path, ("", ""), Vec::new()).await).await.unwrap()
    }

    /// Requests that the router lets a client have at once.
    pub fn streams_max(&self) -> usize {
        self.client.current_max_send_streams()
    }
}

/// Waits for an answer and reads it to its end.
pub async fn whole(answer: ResponseFuture) -> Result<Reply, h2::Error> {
    timeout(PATIENCE, async { read(answer.await?).await }).await.expect("it is answered")
}

/// Reads an answer to its end.
pub async fn read(answer: Response<RecvStream>) -> Result<Reply, h2::Error> {
    let (parts, mut body) = answer.into_parts();
    let mut bytes = Vec::new();
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
    let text = String::from_utf8(bytes).unwrap();
    Ok(Reply { status: parts.status, headers: parts.headers, text })
}
