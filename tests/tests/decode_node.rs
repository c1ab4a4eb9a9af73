//! A real decode node, called directly: health, reflection, and shipments that must be refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{
        Closing, DescribeRequest, GenerateEvent, GenerateRequest, Load, NodeDescription, Sampling, ShipFrame,
        decode_client::DecodeClient, generate_event::Event, kv_transfer_client::KvTransferClient,
        node_client::NodeClient, ship_frame::Frame, ship_reply::Reply,
    },
};
use secateur_tests::{role::Role, suite};
use secateur_transfer::{
    DType, Extent, KvShape, Manifest, Parties, Sender, TransferPolicy,
    codec::{Packing, Plane},
    send::KvSource,
};
use tonic::{Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Extent of a shipment without replayed tokens: all positions are the prompt's.
const EXTENT: Extent = Extent { prompt: POSITIONS, positions: POSITIONS };
const POSITIONS: u32 = 8;
/// Number of layers of the demo checkpoint.
const LAYERS: u32 = 12;
const SHAPE: KvShape = KvShape { kv_heads: 2, head_dim: 32, dtype: DType::F32 };

/// A source of KV that is all zeros.
struct Zeros;

impl KvSource for Zeros {
    fn copy(&self, _: u32, positions: Range<u32>, _: Plane, into: &mut Vec<u8>) {
        into.resize(into.len() + positions.len() * SHAPE.layout().plane_bytes(1), 0);
    }
}

struct Node {
    _role: Role,
    channel: Channel,
    description: NodeDescription,
}

async fn node() -> Node {
    let role =
        Role::start(PROGRAM, &["decode", "--model", &suite::demo().to_string_lossy(), "--dtype", "f32"]).unwrap();
    // The port is bound before the model is loaded; the first call waits for it.
    let channel = Channel::from_shared(format!("http://{}", role.address)).unwrap().connect().await.unwrap();
    let description = NodeClient::new(channel.clone()).describe(DescribeRequest {}).await.unwrap().into_inner();
    Node { _role: role, channel, description }
}

impl Node {
    async fn open(&self, epoch: &str, max_new_tokens: u32) -> Streaming<GenerateEvent> {
        let request = GenerateRequest {
            transfer: TransferPolicy::Dense.to_proto(),
            epoch: Some(secateur_proto::v1::Epoch { id: epoch.to_owned(), attempt: 1 }),
            model_fingerprint: self.description.model_fingerprint.clone(),
            prompt_positions_max: POSITIONS,
            max_new_tokens,
            sampling: Some(Sampling { top_p: 1.0, ..Sampling::default() }),
            deadline_ms: 10_000,
            ..GenerateRequest::default()
        };
        let mut events = DecodeClient::new(self.channel.clone()).generate(request).await.unwrap().into_inner();
        assert!(matches!(events.message().await.unwrap().unwrap().event, Some(Event::Opened(_))));
        events
    }

    fn shipment(&self, epoch: &str) -> Vec<ShipFrame> {
        let parties = Parties {
            epoch: epoch.to_owned(),
            attempt: 1,
            model_fingerprint: self.description.model_fingerprint.clone(),
            plan_id: String::new(),
        };
        let layers: Vec<u32> = (0..LAYERS).collect();
        let manifest = Manifest::new(parties, (TransferPolicy::Dense, None), EXTENT, SHAPE, &layers);
        let (mut sender, first) = Sender::new(manifest, SHAPE.dtype, Packing::Never);
        let mut frames = vec![first];
        sender.ready(0);
        // One frame for each layer.
        for done in layers {
            frames.extend(sender.frame(&Zeros, |layer| if layer <= done { POSITIONS } else { 0 }, true));
        }
        frames.push(sender.close(5).unwrap());
        frames
    }

    async fn ship(&self, frames: Vec<ShipFrame>) -> Result<u64, ServiceError> {
        let mut replies =
            KvTransferClient::new(self.channel.clone()).ship(tokio_stream::iter(frames)).await?.into_inner();
        while let Some(reply) = replies.message().await? {
            if let Some(Reply::Placed(placed)) = reply.reply {
                return Ok(placed.bytes);
            }
        }
        panic!("neither placed nor refused")
    }

    /// Waits until no KV memory is held; fails after ten seconds.
    async fn frees_its_memory(&self) {
        let started = Instant::now();
        while self.kv_bytes_used().await > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "{} bytes are still held", self.kv_bytes_used().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn load(&self) -> Load {
        let description = NodeClient::new(self.channel.clone()).describe(DescribeRequest {}).await.unwrap();
        description.into_inner().load.unwrap()
    }

    async fn kv_bytes_used(&self) -> u64 {
        self.load().await.kv_bytes_used
    }
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let node = node().await;
    for service in ["", "liveness", "readiness"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = HealthClient::new(node.channel.clone()).check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(node.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    assert!(list.service.iter().any(|service| service.name == "secateur.v1.Decode"), "{list:?}");
}

#[tokio::test]
async fn a_good_shipment_is_placed_once() {
    let node = node().await;
    let mut events = node.open("good", 4).await;
    let placed = node.ship(node.shipment("good")).await.unwrap();
    assert_eq!(placed, u64::from(POSITIONS * LAYERS) * SHAPE.bytes_per_token());
    assert_eq!(node.ship(node.shipment("good")).await.unwrap_err().code, ErrorCode::KvRefused);
    let mut indices = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        if let Some(Event::Tokens(tokens)) = event.event {
            indices.extend(tokens.index..tokens.index + tokens.ids.len() as u32);
        }
    }
    assert_eq!(indices, [1, 2, 3]);
    node.frees_its_memory().await;
}

#[tokio::test]
async fn a_router_that_leaves_frees_memory_and_work() {
    let node = node().await;
    // The request is dropped before its shipment.
    drop(node.open("early", 3_500).await);
    let started = Instant::now();
    while node.load().await.waiting > 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "the request still waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.ship(node.shipment("early")).await.unwrap_err().param.as_deref(), Some("unknown_epoch"));
    // The request is dropped in the middle of a long answer.
    let mut events = node.open("late", 3_500).await;
    node.ship(node.shipment("late")).await.unwrap();
    assert!(matches!(events.message().await.unwrap().unwrap().event, Some(Event::Tokens(_))));
    assert!(node.kv_bytes_used().await > 0);
    drop(events);
    node.frees_its_memory().await;
}

#[tokio::test]
async fn what_does_not_match_is_refused_and_told_to_the_request() {
    type Edit = fn(&mut Vec<ShipFrame>);
    let edits: [(&str, Edit); 6] = [
        ("digest_mismatch", |frames| {
            let Some(Frame::Kv(piece)) = frames[3].frame.as_mut() else { panic!("a frame of KV") };
            let mut bytes = piece.payload.to_vec();
            bytes[7] ^= 1;
            piece.payload = bytes.into();
        }),
        ("truncated", |frames| frames.truncate(5)),
        ("frame_mismatch", |frames| frames.swap(3, 4)),
        ("model_mismatch", |frames| {
            let Some(Frame::Manifest(manifest)) = frames[0].frame.as_mut() else { panic!("a manifest") };
            manifest.model_fingerprint = "another".to_owned();
        }),
        ("out_of_order", |frames| frames[4] = frames[0].clone()),
        ("digest_mismatch", |frames| {
            let last = frames.len() - 1;
            frames[last].frame = Some(Frame::Closing(Closing { first_token: 5, ..Closing::default() }));
        }),
    ];
    let node = node().await;
    for (index, (reason, edit)) in edits.into_iter().enumerate() {
        let epoch = format!("bad-{index}");
        let mut events = node.open(&epoch, 4).await;
        let mut frames = node.shipment(&epoch);
        edit(&mut frames);
        let refused = node.ship(frames).await.unwrap_err();
        assert_eq!((refused.code, refused.param.as_deref()), (ErrorCode::KvRefused, Some(reason)));
        let told = ServiceError::from(events.message().await.unwrap_err());
        assert_eq!(told.code, ErrorCode::KvRefused, "{told}");
    }
    let unknown = node.ship(node.shipment("never-opened")).await.unwrap_err();
    assert_eq!(unknown.param.as_deref(), Some("unknown_epoch"));
    node.frees_its_memory().await;
}
