//! An HTTP/1.1 client that keeps its connections, one for each request at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Barrier, task::JoinSet};

use super::cpu::Used;

/// A request that is sent again and again.
#[derive(Clone)]
pub struct Asked {
    address: SocketAddr,
    body: Bytes,
    /// Bytes of the reply, about: times and ids differ.
    reply: usize,
}

/// One measurement.
pub struct Sample {
    /// Seconds of each request, sorted.
    pub latencies: Vec<f64>,
    pub seconds: f64,
    /// Processor time over the measurement.
    pub used: Used,
}

impl Sample {
    pub fn of(mut latencies: Vec<f64>, seconds: f64, used: Used) -> Sample {
        assert!(!latencies.is_empty(), "no request was answered in time; give a longer --seconds");
        latencies.sort_by(f64::total_cmp);
        Sample { latencies, seconds, used }
    }

    /// Milliseconds below which this share of the requests stayed.
    pub fn percentile(&self, share: f64) -> f64 {
        self.latencies[((self.latencies.len() - 1) as f64 * share).round() as usize] * 1e3
    }

    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// Microseconds for each request.
    pub fn each(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.latencies.len() as f64
    }
}

/// A connection to a server.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Asked {
    pub fn new(address: SocketAddr, body: Bytes, reply: usize) -> Asked {
        Asked { address, body, reply }
    }
}

impl Connection {
    pub async fn open(asked: &Asked) -> Connection {
        let stream = TcpStream::connect(asked.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    /// Sends the request; the body of the reply is left to be read.
    pub async fn send(&mut self, asked: &Asked) -> Incoming {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(asked.body.clone()))
            .unwrap();
        self.0.ready().await.unwrap();
        let reply = self.0.send_request(request).await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        reply.into_body()
    }

    /// Sends the request and reads the reply to its end.
    async fn ask(&mut self, asked: &Asked) {
        let mut body = self.send(asked).await;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        assert!(bytes * 2 > asked.reply, "a reply of {bytes} bytes instead of about {}", asked.reply);
    }
}

/// Asks over and over, so many requests at once, for about this time.
pub async fn drive(asked: &Asked, at_once: usize, time: Duration) -> Sample {
    let start = std::sync::Arc::new(Barrier::new(at_once + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (asked, start) = (asked.clone(), start.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(&asked).await;
            // The first request on a connection is warm-up.
            connection.ask(&asked).await;
            start.wait().await;
            let until = Instant::now() + time;
            let mut latencies = Vec::new();
            while latencies.is_empty() || Instant::now() < until {
                let begun = Instant::now();
                connection.ask(&asked).await;
                latencies.push(begun.elapsed().as_secs_f64());
            }
            latencies
        });
    }
    start.wait().await;
    measured(tasks).await
}

/// Waits for tasks that have begun to ask.
pub async fn measured(tasks: JoinSet<Vec<f64>>) -> Sample {
    let (before, begun) = (Used::now(), Instant::now());
    let latencies = tasks.join_all().await.concat();
    let seconds = begun.elapsed().as_secs_f64();
    Sample::of(latencies, seconds, Used::now().since(&before))
}
