//! Tests of shipments to slow, full, silent and stopped receivers, over a real transport.

use secateur_model::{BlockTable, FloatType, KvPool};
use secateur_proto::v1::{
    kv_transfer_server::{KvTransfer, KvTransferServer},
    ship_frame::Frame,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, transport::Server};

use super::*;
use crate::{
    job::tests::text_job,
    peers::{Peer, Peers},
    progress::progress,
    stall::Shortage,
};

/// Shape of a shipment of 16 MiB, which is more than the transport buffers.
const LAYERS: usize = 4;
const POSITIONS: usize = 2_048;
const BLOCKS: usize = 128;

#[derive(Clone, Copy)]
enum Receiver {
    /// Never replies, not even to the manifest.
    Stuck,
    /// Acknowledges the manifest, and never has room.
    Full,
    /// Has room, and never acknowledges a frame.
    Silent,
    /// Takes a frame after each pause.
    Slow(Duration),
    /// Takes this many messages, then refuses the rest.
    Strict(usize),
    /// Takes this many messages, then blocks its whole thread, like a stopped process.
    Frozen(u64),
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
            Receiver::Full | Receiver::Silent | Receiver::Frozen(_) => (Duration::ZERO, usize::MAX),
        };
        let freezes_at = if let Receiver::Frozen(at) = *self { at } else { u64::MAX };
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
                if count == freezes_at {
                    std::thread::sleep(Duration::from_secs(120));
                }
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
    link(serve(receiver).await)
}

async fn serve(receiver: Receiver) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(KvTransferServer::new(receiver));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// Starts a receiver on a thread and runtime of its own.
async fn start_apart(receiver: Receiver) -> Link {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let server = Server::builder().add_service(KvTransferServer::new(receiver));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await
        })
    });
    link(address)
}

fn link(address: std::net::SocketAddr) -> Link {
    Peers::default().channel(&Peer { address: address.to_string(), name: None }).unwrap()
}

/// Starts a proxy to `target` that carries `bytes_s` bytes per second, with the system's default socket buffers;
/// returns its address.
async fn slow_way(target: std::net::SocketAddr, bytes_s: f64) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let (mut buffer, mut due) = (vec![0; 16 << 10], tokio::time::Instant::now());
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    due = due.max(tokio::time::Instant::now()) + Duration::from_secs_f64(count as f64 / bytes_s);
                    tokio::time::sleep_until(due).await;
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn pool() -> KvPool {
    KvPool::of_shape(FloatType::F32, 4, 64, LAYERS, BLOCKS).unwrap()
}

/// A prompt that is computed. Waits first until all blocks are free: a frame of the previous shipment may still be
/// coded and hold its blocks.
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
    reporter.laid(LaidOut { positions, next_position: positions, keys: Vec::new(), view }, positions);
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

/// A receiver behaves like this if a message's length was altered on the way: it waits for the rest of a message that
/// prefill has sent in full.
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
        // The error is the same whichever is noticed first, the broken stream or the refusal.
        let error = shipment.run(channel, computed(&pool)).await.unwrap_err().error;
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::KvRefused, "damaged"));
    }
}

/// The stopped node's kernel still acknowledges packets. The shipment's patience (an hour) is not what ends the wait
/// here.
#[tokio::test]
async fn a_decode_node_that_stops_is_noticed_within_seconds_and_blamed() {
    // Frozen before its first reply, after the manifest, and in the middle.
    for frozen_at in [None, Some(1), Some(4)] {
        let (pool, shortage) = (pool(), Shortage::default());
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let channel = match frozen_at {
            None => link(silent.local_addr().unwrap()),
            Some(at) => start_apart(Receiver::Frozen(at)).await,
        };
        let (shipment, started) = (shipment(Duration::from_secs(3_600), &shortage), Instant::now());
        let shipped = timeout(Duration::from_secs(30), shipment.run(channel, computed(&pool))).await;
        let error = shipped.expect("it is waited for").unwrap_err().error;
        assert!(error.is_retryable() && error.at_peer, "{frozen_at:?}: {error:?}");
        eprintln!("frozen at {frozen_at:?}: noticed after {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(12), "{frozen_at:?}: {:?}", started.elapsed());
    }
}

/// 16 MiB at 10 Mbit/s, of which megabytes lie in buffers on the way, with the answers to keep-alive pings queued
/// behind them.
#[tokio::test]
async fn a_slow_link_is_no_lost_one() {
    let (pool, shortage) = (pool(), Shortage::default());
    let channel = link(slow_way(serve(Receiver::Slow(Duration::ZERO)).await, 1.25e6).await);
    let (shipment, started) = (shipment(Duration::from_secs(3_600), &shortage), Instant::now());
    let shipped = shipment.run(channel, computed(&pool)).await.unwrap();
    assert!(started.elapsed() > Duration::from_secs(10) && shipped.bytes_sent > 16 << 20);
}
