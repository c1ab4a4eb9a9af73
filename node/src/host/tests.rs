//! What HTTP/2 lets shipments do to each other.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use secateur_proto::v1::{
    LayerFrame, ShipAck, ShipFrame,
    kv_transfer_client::KvTransferClient,
    kv_transfer_server::{KvTransfer, KvTransferServer},
    ship_frame::Frame,
};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::{Streaming, transport::Endpoint};

use super::*;

/// Shipments that wait for blocks. Together they have more in flight than a connection window of the usual sizes.
const WAITING: usize = 8;
/// Of one shipment, in frames of 1 MiB: twice what a stream may have in flight.
const FRAMES: usize = 8;
const FRAME_BYTES: usize = 1 << 20;

struct Nobody;

impl Describe for Nobody {
    fn describe(&self, _: bool) -> v1::NodeDescription {
        v1::NodeDescription::default()
    }
}

/// Has blocks for none of the first shipments, and for every later one.
#[derive(Default)]
struct Receiver(AtomicUsize);

#[tonic::async_trait]
impl KvTransfer for Receiver {
    async fn ship(&self, request: Request<Streaming<ShipFrame>>) -> Result<Response<ShipAck>, Status> {
        let mut frames = request.into_inner();
        if self.0.fetch_add(1, Ordering::SeqCst) < WAITING {
            std::future::pending::<()>().await;
        }
        let mut bytes_placed = 0;
        while let Some(ShipFrame { frame: Some(Frame::Layer(layer)) }) = frames.message().await? {
            bytes_placed += layer.payload.len() as u64;
        }
        Ok(Response::new(ShipAck { bytes_placed }))
    }
}

/// Frames of a shipment; `taken` counts those that the transport takes.
fn frames(taken: &Arc<AtomicUsize>) -> impl tokio_stream::Stream<Item = ShipFrame> + use<> {
    let taken = taken.clone();
    tokio_stream::iter(0..FRAMES).map(move |at| {
        taken.fetch_add(1, Ordering::SeqCst);
        let payload = vec![0; FRAME_BYTES].into();
        ShipFrame { frame: Some(Frame::Layer(LayerFrame { layer: 0, offset: (at * FRAME_BYTES) as u64, payload })) }
    })
}

#[tokio::test]
async fn shipments_that_wait_do_not_stall_another_on_their_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut host = Host::new(Arc::new(Nobody), CancellationToken::new());
    host.routes().add_service(KvTransferServer::new(Receiver::default()));
    tokio::spawn(host.serve(listener));
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();

    let taken = Arc::new(AtomicUsize::new(0));
    for _ in 0..WAITING {
        let (mut client, frames) = (KvTransferClient::new(channel.clone()), frames(&taken));
        tokio::spawn(async move { client.ship(frames).await });
    }
    // Each fills its stream's window, whatever that does to the connection's.
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(400) {
        sleep(Duration::from_millis(20)).await;
        let now = taken.load(Ordering::SeqCst);
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    assert!(before < WAITING * FRAMES, "nothing had to wait");
    let mut client = KvTransferClient::new(channel);
    let shipped = timeout(Duration::from_secs(10), client.ship(frames(&Arc::default())));
    let ack = shipped.await.expect("the shipment is stalled").unwrap().into_inner();
    assert_eq!(ack.bytes_placed, (FRAMES * FRAME_BYTES) as u64);
}
