//! Nodes that follow a script. Each has its own runtime, so that killing it cuts its sockets as a dead process would.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use secateur_proto::{
    PROTOCOL_VERSION, ServiceError,
    v1::{
        DType, DecodeDone, DescribeRequest, EmbedReply, EmbedRequest, Epoch, FirstToken, GenerateEvent,
        GenerateRequest, LinkReport, MeasureLinkRequest, NodeDescription, Opened, PrefillDone, PrefillEvent,
        PrefillRequest, Probe, ProbeAck, PromptScore, PromptScores, Role, Sampling, ShipCost, TokenLogprob, Tokens,
        TopLogprob, TransferPolicy, TransferReport, VisualMethod, VisualPolicy, VisualReport, decode_done,
        decode_server::{Decode, DecodeServer},
        generate_event,
        node_server::{Node, NodeServer},
        prefill_event,
        prefill_server::{Prefill, PrefillServer},
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What a node does with the next request.
#[derive(Clone, Debug, Default)]
pub enum Act {
    /// Answers as a node should.
    #[default]
    Answer,
    /// Refuses the call.
    Refuse(ServiceError),
    /// Fails as the gRPC library does by itself, with a status that has nothing of ours.
    Bare(tonic::Code),
    /// Begins, and then says nothing more.
    Hang,
    /// So many tokens after the first one, then this error.
    Break(usize, ServiceError),
    /// Decode: so many tokens after the first one, then its KV blocks are taken.
    Preempt(usize),
    /// Answers without the log probabilities, the scores or the numbers that were asked for.
    Unscored,
    /// Decode: leaves out the token with this index.
    Skip(u32),
    /// Prefill: what a failed shipment had sent, before the first token or after it, then this error; all after so many
    /// milliseconds.
    Spend { bytes: u64, after_first: bool, error: ServiceError, millis: u64 },
    /// Decode: goes slowly, so many milliseconds a token, and not at all where its KV does not arrive.
    Slow(u64),
}

/// A link that carries nothing.
#[derive(Clone)]
pub struct DeadLink {
    /// The decode node at its end.
    pub decode: Arc<Script>,
    /// Milliseconds after which prefill notices, and says so.
    pub noticed_after: u64,
}

/// Shared between a node and its test.
#[derive(Default)]
pub struct Script {
    /// What to do, once what is in `acts` is done.
    pub act: Mutex<Act>,
    /// What to do first, one for each call.
    pub acts: Mutex<VecDeque<Act>>,
    /// The whole answer, first token and end token included.
    pub tokens: Mutex<Vec<u32>>,
    /// What the node says of itself.
    pub description: Mutex<NodeDescription>,
    /// Calls that are being served right now.
    pub active: AtomicUsize,
    /// Calls there have been.
    pub calls: AtomicUsize,
    /// Visual tokens that a picture becomes.
    pub visual_tokens: AtomicU32,
    /// Positions found in the prefix cache.
    pub cached_positions: AtomicU32,
    /// Bytes of the next shipments.
    pub bytes_sent: AtomicU64,
    /// Prefill: decode nodes to which nothing arrives, by address.
    pub dead_links: Mutex<HashMap<String, DeadLink>>,
    /// Decode: epochs and attempts whose KV does not arrive.
    starved: Mutex<HashSet<(String, u32)>>,
    /// Decode: tokens of one message; 0 is 1.
    pub tokens_per_message: AtomicUsize,
    /// Whether requests are not kept: benchmarks send too many.
    pub forgets: AtomicBool,
    /// All requests, for a look.
    pub prefill_requests: Mutex<Vec<PrefillRequest>>,
    pub generate_requests: Mutex<Vec<GenerateRequest>>,
    /// The last ones.
    pub embed_requests: Mutex<Vec<EmbedRequest>>,
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

    /// What to do with the next calls, one after the other.
    pub fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    pub fn answer(&self, tokens: Vec<u32>) {
        *self.tokens.lock().unwrap() = tokens;
    }

    fn begin(self: &Arc<Self>) -> (Act, Vec<u32>, Guard) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
        let act = self.acts.lock().unwrap().pop_front();
        let act = act.unwrap_or_else(|| self.act.lock().unwrap().clone());
        (act, self.tokens.lock().unwrap().clone(), Guard(self.clone()))
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
    /// While it is frozen: dropping it thaws.
    frozen: Option<Sender<()>>,
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
            kv_dtype: DType::Bf16 as i32,
            recommended_transfer: TransferPolicy::Dense as i32,
            ship_costs: vec![ship_cost(TransferPolicy::Dense, 1_000.0), ship_cost(TransferPolicy::Tiered, 250.0)],
            ..Default::default()
        };
        let script = Arc::new(Script {
            description: Mutex::new(description),
            visual_tokens: AtomicU32::new(16),
            bytes_sent: AtomicU64::new(1_000),
            ..Default::default()
        });
        script.answer(super::answer_tokens("hello world"));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Self { script, role, address, runtime: None, frozen: None };
        node.revive();
        node
    }

    /// Stops it as SIGSTOP would: its connections stand, the system takes new ones, and nothing is said or done.
    pub fn freeze(&mut self) {
        let (thaw, frozen) = std::sync::mpsc::channel::<()>();
        let (begun, is_frozen) = std::sync::mpsc::channel();
        // Its runtime has one thread.
        self.runtime.as_ref().unwrap().spawn(async move {
            begun.send(()).unwrap();
            let _ = frozen.recv();
        });
        is_frozen.recv_timeout(Duration::from_secs(5)).unwrap();
        self.frozen = Some(thaw);
    }

    /// Goes on as if nothing had been.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    pub fn kill(&mut self) {
        self.thaw();
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
            // Its predecessor may be a moment in letting go.
            let listener = loop {
                match TcpListener::bind(address).await {
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    bound => break bound.unwrap(),
                }
            };
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

fn ship_cost(policy: TransferPolicy, bytes_per_position: f64) -> ShipCost {
    ShipCost { policy: policy as i32, fixed_bytes: 100.0, bytes_per_position }
}

struct Described(Arc<Script>);

#[tonic::async_trait]
impl Node for Described {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<NodeDescription>, Status> {
        Ok(Response::new(self.0.description.lock().unwrap().clone()))
    }

    type SinkStream = Events<ProbeAck>;

    // Routers do not measure links.
    async fn measure_link(&self, _: Request<MeasureLinkRequest>) -> Result<Response<LinkReport>, Status> {
        Err(Status::unimplemented("measure_link"))
    }

    async fn sink(&self, _: Request<Streaming<Probe>>) -> Result<Response<Self::SinkStream>, Status> {
        Err(Status::unimplemented("sink"))
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
        let bytes_sent = self.0.bytes_sent.load(Ordering::SeqCst);
        let report = report(&request, self.0.visual_tokens.load(Ordering::SeqCst), bytes_sent);
        let index = request.emitted.len();
        let scores = if matches!(act, Act::Unscored) { Vec::new() } else { prompt_scores(&request) };
        assert_eq!(request.emitted, tokens[..index], "a replay goes on where the answer ended");
        let sampling = request.sampling.clone().unwrap();
        let dead_link = self.0.dead_links.lock().unwrap().get(&request.decode_address).cloned();
        if let Some(link) = &dead_link {
            link.decode.starved.lock().unwrap().insert(epoch(&request.epoch));
        }
        if !self.0.forgets.load(Ordering::Relaxed) {
            self.0.prefill_requests.lock().unwrap().push(request.clone());
            *self.0.prefill_request.lock().unwrap() = Some(request);
        }
        match act {
            Act::Refuse(error) => return Err(error.into()),
            Act::Bare(code) => return Err(Status::new(code, "from the library")),
            Act::Hang => return Ok(Response::new(guarded(stream::pending(), guard))),
            _ => {}
        }
        let dead_after = dead_link.map(|link| link.noticed_after);
        let first = FirstToken {
            token: tokens[index],
            prompt_positions: 9,
            queue_ms: 1.0,
            prefill_ms: 2.0,
            cached_positions: self.0.cached_positions.load(Ordering::SeqCst),
            logprob: logprob(&act, &sampling, index, tokens[index]),
        };
        let first = prefill_event::Event::FirstToken(first);
        let scores = scores.into_iter().map(|part| Ok(prefill_event::Event::Scores(part)));
        let events: Vec<Result<_, Status>> = match act {
            Act::Break(_, error) => vec![Ok(first), Err(error.into())],
            Act::Spend { bytes, after_first, error, millis } => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let spent = TransferReport { bytes_sent: bytes, policy: report_policy(&report), ..Default::default() };
                let first = Some(Ok(first)).filter(|_| after_first);
                let rest = [Ok(prefill_event::Event::Spent(spent)), Err(error.into())];
                first.into_iter().chain(rest).collect()
            }
            _ if dead_after.is_some() => vec![Ok(first), Err(lost_link().into())],
            _ => vec![Ok(first), Ok(prefill_event::Event::Done(report))],
        };
        let events: Vec<Result<_, Status>> = scores.chain(events).collect();
        let events = stream::iter(events).then(move |event| async move {
            if event.is_err() {
                tokio::time::sleep(Duration::from_millis(dead_after.unwrap_or(0))).await;
            }
            event
        });
        let events = events.map(|event| event.map(|event| PrefillEvent { event: Some(event) }));
        Ok(Response::new(guarded(events, guard)))
    }

    /// The vector of a text of n tokens that begins with t is (n, t, 0).
    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedReply>, Status> {
        let (act, _, _guard) = self.0.begin();
        let request = request.into_inner();
        let values = vec![request.tokens.len() as f32, request.tokens[0] as f32, 0.0];
        self.0.embed_requests.lock().unwrap().push(request);
        match act {
            Act::Refuse(error) => Err(error.into()),
            Act::Bare(code) => Err(Status::new(code, "from the library")),
            Act::Hang => std::future::pending().await,
            Act::Unscored => Ok(Response::new(EmbedReply::default())),
            _ => Ok(Response::new(EmbedReply { values, ..Default::default() })),
        }
    }
}

/// Scores of a request's tokens where it asks for them, in messages of five: the token at place n has a log probability
/// of -n / 4 and the rank n, behind tokens 101, 102, ... of -1/8, -2/8, ...; the first one and pictures have none.
fn prompt_scores(request: &PrefillRequest) -> Vec<PromptScores> {
    let Some(top) = request.score_top else { return Vec::new() };
    let score = |(place, token): (usize, &u32)| {
        if place == 0 || *token == super::IMAGE_TOKEN {
            return PromptScore::default();
        }
        let top = (1..=top).map(|rank| TopLogprob { id: 100 + rank, logprob: -(rank as f32) / 8.0 }).collect();
        PromptScore { logprob: Some(TokenLogprob { logprob: -(place as f32) / 4.0, top }), rank: place as u32 }
    };
    let scores: Vec<PromptScore> = request.tokens.iter().enumerate().map(score).collect();
    let part =
        |(part, scores): (usize, &[PromptScore])| PromptScores { start: 5 * part as u32, scores: scores.to_vec() };
    scores.chunks(5).enumerate().map(part).collect()
}

fn epoch(epoch: &Option<Epoch>) -> (String, u32) {
    let epoch = epoch.as_ref().unwrap();
    (epoch.id.clone(), epoch.attempt)
}

/// What a prefill node says whose decode node takes nothing.
fn lost_link() -> ServiceError {
    ServiceError::new(secateur_proto::ErrorCode::Unavailable, "the connection to decode was lost").at_peer()
}

/// The same for a token wherever it is drawn.
fn logprob(act: &Act, sampling: &Sampling, index: usize, id: u32) -> Option<TokenLogprob> {
    let count = sampling.top_logprobs.filter(|_| !matches!(act, Act::Unscored))?;
    let logprob = -(index as f32) / 8.0;
    let top = (0..count).map(|other| TopLogprob { id: id + other, logprob: logprob - other as f32 }).collect();
    Some(TokenLogprob { logprob, top })
}

fn report_policy(report: &PrefillDone) -> i32 {
    report.transfer.unwrap().policy
}

fn report(request: &PrefillRequest, visual_tokens: u32, bytes_sent: u64) -> PrefillDone {
    let images = request.images.len() as u32;
    let sent = if request.decode_address.is_empty() { 0 } else { bytes_sent };
    PrefillDone {
        visual: Some(VisualReport {
            method: request.visual.unwrap().method,
            images,
            tokens_before: images * visual_tokens,
            tokens_after: images * visual_tokens / 4,
            prune_ms: 0.5,
            ..VisualReport::default()
        }),
        transfer: Some(TransferReport {
            policy: request.transfer,
            bytes_sent: sent,
            bytes_dense: sent,
            bytes_unpruned: 2 * sent,
            wire_ms: 3.0,
            overlap: 0.5,
            link_mbit_s: 100.0,
            positions_held: 3,
            encode_ms: 0.25,
            bytes_raw: 4 * sent,
            bytes_kept: sent,
            bytes_planned: 5 * sent,
            bits: 6.0,
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
        assert_eq!(request.emitted, tokens[..request.emitted.len()], "a replay goes on where the answer ended");
        if !self.0.forgets.load(Ordering::Relaxed) {
            self.0.generate_requests.lock().unwrap().push(request.clone());
            *self.0.generate_request.lock().unwrap() = Some(request.clone());
        }
        match act {
            Act::Refuse(error) => return Err(error.into()),
            Act::Bare(code) => return Err(Status::new(code, "from the library")),
            _ => {}
        }
        let opened = stream::iter([Ok(event(generate_event::Event::Opened(Opened { node_id: "d".into() })))]);
        let all = generated(&act, &tokens, &request, self.0.tokens_per_message.load(Ordering::Relaxed));
        let rest: Events<GenerateEvent> = match act {
            Act::Hang => Box::pin(stream::pending()),
            Act::Break(count, error) => {
                let events = all.into_iter().take(count).map(Ok).chain([Err(error.into())]);
                // Later than the first token, which is what the test is about.
                Box::pin(stream::iter(events.collect::<Vec<_>>()).then(async |event| {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    event
                }))
            }
            Act::Preempt(count) => {
                let events: Vec<_> =
                    all.into_iter().take(count).chain([done(decode_done::Reason::Preempted)]).collect();
                Box::pin(stream::iter(events).map(Ok))
            }
            Act::Slow(millis) => {
                let (script, epoch) = (self.0.clone(), epoch(&request.epoch));
                Box::pin(stream::iter(all).then(move |event| {
                    let (script, epoch) = (script.clone(), epoch.clone());
                    async move {
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                        if script.starved.lock().unwrap().contains(&epoch) {
                            std::future::pending::<()>().await;
                        }
                        Ok(event)
                    }
                }))
            }
            _ => Box::pin(stream::iter(all).map(Ok)),
        };
        Ok(Response::new(guarded(opened.chain(rest), guard)))
    }
}

/// Tokens after this attempt's first one, in messages of so many, then the end. A stop token ends it without being sent,
/// as at a real node.
fn generated(act: &Act, tokens: &[u32], request: &GenerateRequest, per_message: usize) -> Vec<GenerateEvent> {
    let kept = &tokens[..tokens.len().min(request.max_new_tokens as usize)];
    let begun = request.emitted.len();
    let is_stop = |id: &u32| request.stop_token_ids.contains(id);
    // Prefill's token counts as well: after a stop token nothing is generated.
    let stop = kept.iter().skip(begun).position(is_stop).map(|position| begun + position);
    let reason = if stop.is_some() { decode_done::Reason::Stop } else { decode_done::Reason::Length };
    let sampling = request.sampling.clone().unwrap();
    let event_of = |part: &[(usize, u32)]| {
        let logprobs = part.iter().filter_map(|(index, id)| logprob(act, &sampling, *index, *id)).collect();
        let ids = part.iter().map(|(_, id)| *id).collect();
        event(generate_event::Event::Tokens(Tokens { index: part[0].0 as u32, ids, logprobs }))
    };
    let skipped = if let Act::Skip(index) = act { Some(*index as usize) } else { None };
    let rest = kept[..stop.unwrap_or(kept.len())].iter().copied().enumerate().skip(begun + 1);
    let rest: Vec<(usize, u32)> = rest.filter(|(index, _)| Some(*index) != skipped).collect();
    rest.chunks(per_message.max(1)).map(event_of).chain([done(reason)]).collect()
}

fn done(reason: decode_done::Reason) -> GenerateEvent {
    event(generate_event::Event::Done(DecodeDone { reason: reason as i32, decode_ms: 4.0, tokens: 0 }))
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
