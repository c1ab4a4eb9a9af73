//! Shipments to receivers that are slow, over a real transport.

use secateur_model::{BlockTable, FloatType, KvPool};
use secateur_proto::v1::{
    kv_transfer_server::{KvTransfer, KvTransferServer},
    ship_frame::Frame,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, transport::Server};

use super::*;
use crate::{
    job::tests::text_job,
    peers::{Peer, Peers},
    progress::progress,
    stall::Shortage,
};

/// 16 MiB, which is more than a transport takes on credit.
const LAYERS: usize = 4;
const POSITIONS: usize = 2_048;
const BLOCKS: usize = 128;

#[derive(Clone, Copy)]
enum Receiver {
    /// Does not even say that it has the manifest.
    Stuck,
    /// Has the manifest, and never room.
    Full,
    /// Has room, and says nothing of the frames that come.
    Silent,
    /// Takes a frame after each pause.
    Slow(Duration),
    /// Takes so many, then refuses the rest.
    Strict(usize),
}

#[tonic::async_trait]
impl KvTransfer for Receiver {
    type ShipStream = ReceiverStream<Result<ShipReply, Status>>;

    async fn ship(&self, request: Request<Streaming<ShipFrame>>) -> Result<Response<Self::ShipStream>, Status> {
        let mut frames = request.into_inner();
        let (pause, limit) = match *self {
            Receiver::Stuck => return std::future::pending().await,
            Receiver::Slow(pause) => (pause, usize::MAX),
            Receiver::Strict(limit) => (Duration::ZERO, limit),
            Receiver::Full | Receiver::Silent => (Duration::ZERO, usize::MAX),
        };
        let (is_full, is_silent) = (matches!(self, Receiver::Full), matches!(self, Receiver::Silent));
        let (replies, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            if is_full {
                let reply = Some(Reply::Received(v1::Received { frames: 0 }));
                let _ = replies.send(Ok(ShipReply { reply })).await;
                return replies.closed().await;
            }
            let (mut bytes, mut count) = (0, 0);
            while let Ok(Some(ShipFrame { frame })) = frames.message().await {
                let reply = match frame {
                    Some(Frame::Manifest(manifest)) => {
                        bytes = manifest.total_bytes;
                        Reply::Ready(v1::Ready { held: 0 })
                    }
                    Some(Frame::Closing(_)) => Reply::Placed(v1::Placed { bytes }),
                    _ => Reply::Received(v1::Received { frames: count }),
                };
                count += 1;
                if count > limit as u64 {
                    let _ = replies.send(Err(ServiceError::new(ErrorCode::KvRefused, "damaged").into())).await;
                    return;
                }
                sleep(pause).await;
                if is_silent && !matches!(reply, Reply::Ready(_)) {
                    continue;
                }
                let _ = replies.send(Ok(ShipReply { reply: Some(reply) })).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn start(receiver: Receiver) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(KvTransferServer::new(receiver));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Peers::default().channel(&Peer { address: address.to_string(), name: None }).unwrap()
}

fn pool() -> KvPool {
    KvPool::of_shape(FloatType::F32, 4, 64, LAYERS, BLOCKS).unwrap()
}

/// A prompt that is computed. A frame of the shipment before it may still be coded, whose blocks come back then.
fn computed(pool: &KvPool) -> Follower {
    let started = Instant::now();
    while pool.free_blocks() < BLOCKS {
        assert!(started.elapsed() < Duration::from_secs(5), "blocks do not come back");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut table = BlockTable::new(pool);
    table.grow(pool.lease(table.missing(POSITIONS)).unwrap());
    table.set_len(POSITIONS).unwrap();
    let positions = POSITIONS as u32;
    let (reporter, follower) = progress();
    let view = table.view(POSITIONS).into();
    reporter.laid(Laid { positions, next_position: positions, keys: Vec::new(), view }, positions);
    reporter.close(Closed { first_token: 1, compute_end: Instant::now() });
    follower
}

fn identity() -> Identity {
    let mut identity = crate::job::tests::identity();
    (identity.model.kv_heads, identity.model.head_dim) = (4, 64);
    identity.kv_layers = (0..LAYERS as u32).collect();
    identity.shipped_layers = identity.kv_layers.clone();
    identity
}

fn shipment(limit: Duration, shortage: &Shortage) -> Shipment {
    Shipment {
        job: Arc::new(text_job(vec![1])),
        identity: Arc::new(identity()),
        patience: Patience { limit, shortage: shortage.clone() },
        packing: Packing::Never,
    }
}

#[tokio::test]
async fn a_receiver_without_room_holds_no_blocks_that_others_want() {
    let (pool, shortage) = (pool(), Shortage::default());
    let (channel, progress) = (start(Receiver::Full).await, computed(&pool));
    let shipment = shipment(Duration::from_millis(100), &shortage);
    let shipping = tokio::spawn(async move { shipment.run(channel, progress).await });
    sleep(Duration::from_millis(700)).await;
    assert!(!shipping.is_finished(), "nobody wants the blocks");
    assert_eq!(pool.free_blocks(), 0);
    shortage.set(true);
    let error = timeout(Duration::from_secs(5), shipping).await.unwrap().unwrap().unwrap_err().error;
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.is_retryable() && error.message.contains("took nothing"), "{error}");
    assert_eq!(pool.free_blocks(), BLOCKS);
}

/// As where a message's length was altered on the way: it waits for the rest of what prefill has sent in full.
#[tokio::test]
async fn a_receiver_that_says_nothing_is_not_waited_for_whoever_wants_the_blocks() {
    for receiver in [Receiver::Stuck, Receiver::Silent] {
        let (pool, shortage) = (pool(), Shortage::default());
        let (channel, progress) = (start(receiver).await, computed(&pool));
        let shipment = shipment(Duration::from_millis(300), &shortage);
        let error = timeout(Duration::from_secs(10), shipment.run(channel, progress)).await.unwrap().unwrap_err().error;
        assert!(error.is_retryable() && error.message.contains("took nothing"), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_slow_but_takes_something_is_waited_for() {
    let (pool, shortage) = (pool(), Shortage::default());
    shortage.set(true);
    let (channel, progress) = (start(Receiver::Slow(Duration::from_millis(150))).await, computed(&pool));
    let (started, limit) = (Instant::now(), Duration::from_secs(2));
    let shipped = shipment(limit, &shortage).run(channel, progress).await.unwrap();
    assert!(started.elapsed() > limit && shipped.bytes_sent > 16 << 20);
    assert_eq!(pool.free_blocks(), BLOCKS);
}

#[tokio::test]
async fn a_refusal_in_the_middle_is_told_as_such() {
    let pool = pool();
    for count in 0..20 {
        let channel = start(Receiver::Strict(1 + count % 10)).await;
        let shipment = shipment(Duration::from_secs(5), &Shortage::default());
        // Whichever is noticed first, the broken stream or the refusal.
        let error = shipment.run(channel, computed(&pool)).await.unwrap_err().error;
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::KvRefused, "damaged"));
    }
}
