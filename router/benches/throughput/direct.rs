//! The nodes' calls as the router makes them, without the router.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use secateur_proto::v1::{
    Epoch, GenerateRequest, PrefillRequest, decode_client::DecodeClient, prefill_client::PrefillClient,
};
use tokio::{sync::Barrier, task::JoinSet};
use tonic::transport::{Channel, Endpoint};

use super::client::{Sample, measured};

/// The calls of one request.
#[derive(Clone)]
pub struct Calls {
    prefill: SocketAddr,
    decode: SocketAddr,
    run: PrefillRequest,
    /// `None` for an answer of one token.
    generate: Option<GenerateRequest>,
}

/// Connections to both nodes, which all requests share, as the router's do.
#[derive(Clone)]
struct Nodes {
    prefill: PrefillClient<Channel>,
    decode: DecodeClient<Channel>,
}

impl Calls {
    pub fn new(
        prefill: SocketAddr,
        decode: SocketAddr,
        run: PrefillRequest,
        generate: Option<GenerateRequest>,
    ) -> Calls {
        Calls { prefill, decode, run, generate }
    }

    /// Opens decode's leg, then prefill's, and reads both to their end.
    async fn make(&self, mut nodes: Nodes, number: u64) {
        let epoch = Some(Epoch { id: format!("direct-{number}"), attempt: 1 });
        let mut tokens = match &self.generate {
            Some(generate) => {
                let generate = GenerateRequest { epoch: epoch.clone(), ..generate.clone() };
                let mut tokens = nodes.decode.generate(generate).await.unwrap().into_inner();
                tokens.message().await.unwrap().unwrap();
                Some(tokens)
            }
            None => None,
        };
        let run = PrefillRequest { epoch, ..self.run.clone() };
        let mut events = nodes.prefill.run(run).await.unwrap().into_inner();
        events.message().await.unwrap().unwrap();
        if let Some(tokens) = &mut tokens {
            while tokens.message().await.unwrap().is_some() {}
        }
        while events.message().await.unwrap().is_some() {}
    }
}

async fn connected(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.tcp_nodelay(true).connect().await.unwrap()
}

/// Makes the calls over and over, those of so many requests at once, for about this time.
pub async fn drive(calls: &Calls, at_once: usize, time: Duration) -> Sample {
    let (prefill, decode) = (connected(calls.prefill).await, connected(calls.decode).await);
    let nodes = Nodes { prefill: PrefillClient::new(prefill), decode: DecodeClient::new(decode) };
    let (start, numbers) = (Arc::new(Barrier::new(at_once + 1)), Arc::new(AtomicU64::new(0)));
    let calls = Arc::new(calls.clone());
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let (calls, nodes, start, numbers) = (calls.clone(), nodes.clone(), start.clone(), numbers.clone());
        tasks.spawn(async move {
            calls.make(nodes.clone(), numbers.fetch_add(1, Ordering::Relaxed)).await;
            start.wait().await;
            let until = Instant::now() + time;
            let mut latencies = Vec::new();
            while latencies.is_empty() || Instant::now() < until {
                let begun = Instant::now();
                calls.make(nodes.clone(), numbers.fetch_add(1, Ordering::Relaxed)).await;
                latencies.push(begun.elapsed().as_secs_f64());
            }
            latencies
        });
    }
    start.wait().await;
    measured(tasks).await
}
