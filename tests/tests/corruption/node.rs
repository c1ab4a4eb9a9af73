//! A real decode node, and shipments to it as raw bytes.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use prost::{
    Message,
    bytes::{Buf, BufMut},
};
use secateur_proto::v1::{
    DescribeRequest, Epoch, GenerateEvent, GenerateRequest, NodeDescription, Sampling, ShipFrame, ShipReply,
    decode_client::DecodeClient, generate_event::Event, node_client::NodeClient, ship_reply::Reply,
};
use secateur_tests::{corruption::Random, role::Role, suite};
use secateur_transfer::{
    BlockKeys, DType, Extent, KvShape, Manifest, Parties, Sender, TransferPolicy,
    codec::{Packing, Plane},
    send::KvSource,
};
use tonic::{
    Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

/// Positions of a prompt, enough for tiers with a middle.
pub const POSITIONS: u32 = 64;
const BLOCK_POSITIONS: u32 = 16;
/// Number of layers of the demo checkpoint.
const LAYERS: u32 = 12;
const SHAPE: KvShape = KvShape { kv_heads: 2, head_dim: 32, dtype: DType::F32 };

/// KV determined by seed, layer and position.
struct Made(u64);

impl KvSource for Made {
    fn copy(&self, layer: u32, positions: Range<u32>, plane: Plane, into: &mut Vec<u8>) {
        for position in positions {
            let seed = self.0 << 32 | u64::from(layer) << 16 | u64::from(position) << 1 | u64::from(plane == Plane::K);
            let mut random = Random::new(seed);
            let value = |_| (random.below(2_001) as f32 / 1_000.0 - 1.0).to_le_bytes();
            into.extend((0..SHAPE.layout().width).flat_map(value));
        }
    }
}

/// Parameters of a shipment.
#[derive(Clone, Debug)]
pub struct Of {
    /// Epoch id of the request.
    pub epoch: String,
    /// Attempt of the request.
    pub attempt: u32,
    /// Transfer policy.
    pub policy: TransferPolicy,
    /// Seed of the values.
    pub seed: u64,
    /// Seed of the keys under which decode keeps the blocks.
    pub keys: u64,
}

/// A running node.
pub struct Node {
    _role: Role,
    channel: Channel,
    description: NodeDescription,
}

impl Node {
    /// Starts a decode node on the demo checkpoint.
    pub async fn start(program: &str) -> Self {
        let role =
            Role::start(program, &["decode", "--model", &suite::demo().to_string_lossy(), "--dtype", "f32"]).unwrap();
        let channel = Channel::from_shared(format!("http://{}", role.address)).unwrap().connect().await.unwrap();
        let description = NodeClient::new(channel.clone()).describe(DescribeRequest {}).await.unwrap().into_inner();
        Self { _role: role, channel, description }
    }

    /// Opens a request, which waits for its shipment.
    pub async fn open(&self, of: &Of) -> Streaming<GenerateEvent> {
        let request = GenerateRequest {
            transfer: of.policy.to_proto(),
            epoch: Some(Epoch { id: of.epoch.clone(), attempt: of.attempt }),
            model_fingerprint: self.description.model_fingerprint.clone(),
            prompt_positions_max: POSITIONS,
            max_new_tokens: 8,
            sampling: Some(Sampling { top_p: 1.0, ..Sampling::default() }),
            deadline_ms: 60_000,
            ..GenerateRequest::default()
        };
        let mut events = DecodeClient::new(self.channel.clone()).generate(request).await.unwrap().into_inner();
        assert!(matches!(events.message().await.unwrap().unwrap().event, Some(Event::Opened(_))));
        events
    }

    /// A good shipment: manifest, a frame for each layer, and the closing message.
    pub fn shipment(&self, of: &Of) -> Vec<Vec<u8>> {
        let parties = Parties {
            epoch: of.epoch.clone(),
            attempt: of.attempt,
            model_fingerprint: self.description.model_fingerprint.clone(),
            plan_id: String::new(),
        };
        let layers: Vec<u32> = (0..LAYERS).collect();
        let extent = Extent { prompt: POSITIONS, positions: POSITIONS };
        let key = |block: u32| [of.keys.to_le_bytes(), u64::from(block).to_le_bytes()].concat().repeat(2);
        let keys = (0..POSITIONS / BLOCK_POSITIONS).flat_map(key).collect::<Vec<u8>>().into();
        let manifest = Manifest::new(parties, (of.policy, None), extent, SHAPE, &layers)
            .with_keys(BlockKeys { positions: BLOCK_POSITIONS, keys });
        let (mut sender, first) = Sender::new(manifest, SHAPE.dtype, Packing::WhereSmaller);
        let mut frames = vec![first];
        sender.ready(0);
        for done in layers {
            frames.extend(sender.frame(&Made(of.seed), |layer| if layer <= done { POSITIONS } else { 0 }, true));
        }
        frames.push(sender.close(5).unwrap());
        frames.iter().map(ShipFrame::encode_to_vec).collect()
    }

    /// Ships messages unchanged, good or not.
    pub async fn ship(&self, messages: Vec<Vec<u8>>) -> Result<u64, Status> {
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/secateur.v1.KvTransfer/Ship");
        let request = tonic::Request::new(tokio_stream::iter(messages));
        let mut replies = client.streaming(request, path, AsTheyAre).await?.into_inner();
        while let Some(reply) = replies.message().await? {
            if let Some(Reply::Placed(placed)) = reply.reply {
                return Ok(placed.bytes);
            }
        }
        panic!("neither placed nor refused")
    }

    /// Ships a good shipment and returns the tokens of its answer.
    pub async fn answer(&self, of: &Of) -> Vec<u32> {
        let events = self.open(of).await;
        self.ship(self.shipment(of)).await.unwrap();
        tokens(events).await
    }

    /// Waits until no KV memory is held; fails after ten seconds.
    pub async fn frees_its_memory(&self) {
        let started = Instant::now();
        loop {
            let description = NodeClient::new(self.channel.clone()).describe(DescribeRequest {}).await.unwrap();
            let load = description.into_inner().load.unwrap();
            if load.kv_bytes_used == 0 && load.waiting == 0 && load.running == 0 {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "still held: {load:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Collects all tokens of an answer.
pub async fn tokens(mut events: Streaming<GenerateEvent>) -> Vec<u32> {
    let mut ids = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        if let Some(Event::Tokens(tokens)) = event.event {
            ids.extend(tokens.ids);
        }
    }
    ids
}

/// A codec for messages that are already encoded.
struct AsTheyAre;

impl Codec for AsTheyAre {
    type Encode = Vec<u8>;
    type Decode = ShipReply;
    type Encoder = AsTheyAre;
    type Decoder = AsTheyAre;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }
}

impl Encoder for AsTheyAre {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for AsTheyAre {
    type Item = ShipReply;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ShipReply>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        ShipReply::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
