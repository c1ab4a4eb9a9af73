//! Nodes that follow a script. Each has its own runtime, so that killing it cuts its sockets as a dead process would.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use secateur_proto::{
    PROTOCOL_VERSION, ServiceError,
    v1::{
        DecodeDone, DescribeRequest, FirstToken, GenerateEvent, GenerateRequest, NodeDescription, Opened, PrefillDone,
        PrefillEvent, PrefillRequest, Role, Tokens, TransferPolicy, TransferReport, VisualMethod, VisualPolicy,
        VisualReport, decode_done,
        decode_server::{Decode, DecodeServer},
        generate_event,
        node_server::{Node, NodeServer},
        prefill_event,
        prefill_server::{Prefill, PrefillServer},
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What a node does with the next request.
#[derive(Clone, Debug, Default)]
pub enum Act {
    /// Answers as a node should.
    #[default]
    Answer,
    /// Refuses the call.
    Refuse(ServiceError),
    /// Begins, and then says nothing more.
    Hang,
    /// Decode: tokens up to this many, then this error.
    Break(usize, ServiceError),
    /// Decode: leaves out the token with this index.
    Skip(u32),
    /// Decode: goes slowly, so many milliseconds a token.
    Slow(u64),
}

/// Shared between a node and its test.
#[derive(Default)]
pub struct Script {
    /// What to do.
    pub act: Mutex<Act>,
    /// The whole answer, first token and end token included.
    pub tokens: Mutex<Vec<u32>>,
    /// What the node says of itself.
    pub description: Mutex<NodeDescription>,
    /// Calls that are being served right now.
    pub active: AtomicUsize,
    /// Calls there have been.
    pub calls: AtomicUsize,
    /// The last requests, for a look.
    pub prefill_request: Mutex<Option<PrefillRequest>>,
    pub generate_request: Mutex<Option<GenerateRequest>>,
}

impl Script {
    pub fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn set(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    pub fn answer(&self, tokens: Vec<u32>) {
        *self.tokens.lock().unwrap() = tokens;
    }

    fn begin(self: &Arc<Self>) -> (Act, Vec<u32>, Guard) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.act.lock().unwrap().clone(), self.tokens.lock().unwrap().clone(), Guard(self.clone()))
    }
}

/// Counts a call as served until its stream is dropped.
struct Guard(Arc<Script>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A node that can be killed and started again on the same port.
pub struct FakeNode {
    pub script: Arc<Script>,
    pub role: Role,
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl FakeNode {
    pub fn start(role: Role, name: &str) -> Self {
        let description = NodeDescription {
            node_id: name.into(),
            role: role as i32,
            protocol_version: PROTOCOL_VERSION,
            model_fingerprint: "m".into(),
            max_positions: 512,
            visual_tokens_per_image: 16,
            stop_token_ids: vec![super::END_TOKEN],
            recommended_visual: Some(VisualPolicy { method: VisualMethod::Trimtokenator as i32, keep: 0.25 }),
            ..Default::default()
        };
        let script = Arc::new(Script { description: Mutex::new(description), ..Default::default() });
        script.answer(super::answer_tokens("hello world"));
        let mut node = Self { script, role, address: SocketAddr::from(([127, 0, 0, 1], 0)), runtime: None };
        node.revive();
        node
    }

    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub fn revive(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = self.address;
        let (sender, receiver) = std::sync::mpsc::channel();
        let (script, role) = (self.script.clone(), self.role);
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let server = Server::builder().add_service(NodeServer::new(Described(script.clone())));
            let server = match role {
                Role::Decode => server.add_service(DecodeServer::new(FakeDecode(script))),
                _ => server.add_service(PrefillServer::new(FakePrefill(script))),
            };
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        self.address = receiver.recv_timeout(Duration::from_secs(5)).unwrap();
        self.runtime = Some(runtime);
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Described(Arc<Script>);

#[tonic::async_trait]
impl Node for Described {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<NodeDescription>, Status> {
        Ok(Response::new(self.0.description.lock().unwrap().clone()))
    }
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct FakePrefill(Arc<Script>);

#[tonic::async_trait]
impl Prefill for FakePrefill {
    type RunStream = Events<PrefillEvent>;

    async fn run(&self, request: Request<PrefillRequest>) -> Result<Response<Self::RunStream>, Status> {
        let (act, tokens, guard) = self.0.begin();
        let request = request.into_inner();
        let report = report(&request);
        *self.0.prefill_request.lock().unwrap() = Some(request);
        if let Act::Refuse(error) = act {
            return Err(error.into());
        }
        if matches!(act, Act::Hang) {
            return Ok(Response::new(guarded(stream::pending(), guard)));
        }
        let first = FirstToken { token: tokens[0], prompt_positions: 9, queue_ms: 1.0, prefill_ms: 2.0 };
        let events = [prefill_event::Event::FirstToken(first), prefill_event::Event::Done(report)];
        let events = stream::iter(events).map(|event| Ok(PrefillEvent { event: Some(event) }));
        Ok(Response::new(guarded(events, guard)))
    }
}

fn report(request: &PrefillRequest) -> PrefillDone {
    let images = request.images.len() as u32;
    let sent = if request.decode_address.is_empty() { 0 } else { 1_000 };
    PrefillDone {
        visual: Some(VisualReport {
            method: request.visual.unwrap().method,
            images,
            tokens_before: images * 16,
            tokens_after: images * 4,
            prune_ms: 0.5,
        }),
        transfer: Some(TransferReport {
            policy: TransferPolicy::Dense as i32,
            bytes_sent: sent,
            bytes_dense: sent,
            bytes_unpruned: 2 * sent,
            wire_ms: 3.0,
            overlap: 0.5,
            link_mbit_s: 100.0,
        }),
    }
}

struct FakeDecode(Arc<Script>);

#[tonic::async_trait]
impl Decode for FakeDecode {
    type GenerateStream = Events<GenerateEvent>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let (act, tokens, guard) = self.0.begin();
        let request = request.into_inner();
        let max_new_tokens = request.max_new_tokens as usize;
        *self.0.generate_request.lock().unwrap() = Some(request);
        if let Act::Refuse(error) = act {
            return Err(error.into());
        }
        let opened = stream::iter([Ok(event(generate_event::Event::Opened(Opened { node_id: "d".into() })))]);
        let rest: Events<GenerateEvent> = match act {
            Act::Hang => Box::pin(stream::pending()),
            Act::Break(count, error) => {
                let events = generated(&tokens[..count + 1], max_new_tokens, None);
                let events = events.into_iter().take(count).map(Ok).chain([Err(error.into())]);
                // Later than the first token, which is what the test is about.
                Box::pin(stream::iter(events.collect::<Vec<_>>()).then(async |event| {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    event
                }))
            }
            Act::Skip(index) => Box::pin(stream::iter(generated(&tokens, max_new_tokens, Some(index))).map(Ok)),
            Act::Slow(millis) => {
                let events = stream::iter(generated(&tokens, max_new_tokens, None));
                Box::pin(events.then(move |event| async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok(event)
                }))
            }
            _ => Box::pin(stream::iter(generated(&tokens, max_new_tokens, None)).map(Ok)),
        };
        Ok(Response::new(guarded(opened.chain(rest), guard)))
    }
}

/// Tokens after the first, one an event, then the end.
fn generated(tokens: &[u32], max_new_tokens: usize, skip: Option<u32>) -> Vec<GenerateEvent> {
    let kept = &tokens[..tokens.len().min(max_new_tokens)];
    let reason =
        if kept.last() == Some(&super::END_TOKEN) { decode_done::Reason::Stop } else { decode_done::Reason::Length };
    let mut events: Vec<GenerateEvent> = kept
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(index, _)| Some(*index as u32) != skip)
        .map(|(index, id)| event(generate_event::Event::Tokens(Tokens { index: index as u32, ids: vec![*id] })))
        .collect();
    let count = events.len() as u32;
    events.push(event(generate_event::Event::Done(DecodeDone {
        reason: reason as i32,
        decode_ms: 4.0,
        tokens: count,
    })));
    events
}

fn event(event: generate_event::Event) -> GenerateEvent {
    GenerateEvent { event: Some(event) }
}

/// The stream with its guard: dropping one drops the other.
fn guarded<T: Send + 'static>(
    events: impl Stream<Item = Result<T, Status>> + Send + 'static,
    guard: Guard,
) -> Events<T> {
    Box::pin(events.map(move |event| {
        let _held = &guard;
        event
    }))
}
