//! Tests that shipments on one connection do not stall each other, that only trusted callers are served, and that the
//! host ends with its engine.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use secateur_channel::{KeepAlive, Link, LinkSecurity};
use secateur_proto::{
    ErrorCode, ServiceError,
    v1::{
        KvFrame, Placed, ShipFrame, ShipReply,
        kv_transfer_client::KvTransferClient,
        kv_transfer_server::{KvTransfer, KvTransferServer},
        node_client::NodeClient,
        ship_frame::Frame,
        ship_reply::Reply,
    },
};
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as ServingHealth, health_client::HealthClient,
};

use super::*;

/// Number of shipments that wait for blocks. Together they have more in flight than a connection window of a usual
/// size.
const WAITING: usize = 8;
/// Number of frames of one shipment, of 1 MiB each: twice what a stream may have in flight.
const FRAMES: usize = 8;
const FRAME_BYTES: usize = 1 << 20;

struct Nobody;

impl Describe for Nobody {
    fn describe(&self, _: bool) -> v1::NodeDescription {
        v1::NodeDescription::default()
    }
}

/// A receiver that has no blocks for the first [`WAITING`] shipments, and blocks for every later one. Holds the number
/// of shipments so far.
#[derive(Default)]
struct Receiver(AtomicUsize);

#[tonic::async_trait]
impl KvTransfer for Receiver {
    type ShipStream = tokio_stream::Iter<std::vec::IntoIter<Result<ShipReply, Status>>>;

    async fn ship(&self, request: Request<Streaming<ShipFrame>>) -> Result<Response<Self::ShipStream>, Status> {
        let mut frames = request.into_inner();
        if self.0.fetch_add(1, Ordering::SeqCst) < WAITING {
            std::future::pending::<()>().await;
        }
        let mut bytes = 0;
        while let Some(ShipFrame { frame: Some(Frame::Kv(frame)) }) = frames.message().await? {
            bytes += frame.payload.len() as u64;
        }
        let placed = ShipReply { reply: Some(Reply::Placed(Placed { bytes })) };
        Ok(Response::new(tokio_stream::iter(vec![Ok(placed)])))
    }
}

/// Frames of a shipment; `taken` counts the frames that the transport has taken.
fn frames(taken: &Arc<AtomicUsize>) -> impl tokio_stream::Stream<Item = ShipFrame> + use<> {
    let taken = taken.clone();
    tokio_stream::iter(0..FRAMES).map(move |at| {
        taken.fetch_add(1, Ordering::SeqCst);
        let payload = vec![0; FRAME_BYTES].into();
        ShipFrame { frame: Some(Frame::Kv(KvFrame { sequence: at as u64, payload, ..KvFrame::default() })) }
    })
}

#[tokio::test]
async fn shipments_that_wait_do_not_stall_another_on_their_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut host = Host::new(Arc::new(Nobody), Channels::default(), CancellationToken::new())
        .with_intake(intake::of_shipments(QUEUE_LIMIT));
    host.routes().add_service(KvTransferServer::new(Receiver::default()));
    tokio::spawn(host.serve(listener, Guard::default()));
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();

    let taken = Arc::new(AtomicUsize::new(0));
    for _ in 0..WAITING {
        let (mut client, frames) = (KvTransferClient::new(channel.clone()), frames(&taken));
        tokio::spawn(async move { client.ship(frames).await });
    }
    // Each waiting shipment fills its stream's window; wait until no more frames are taken.
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
    let mut replies = shipped.await.expect("the shipment is stalled").unwrap().into_inner();
    let placed = Some(Reply::Placed(Placed { bytes: (FRAMES * FRAME_BYTES) as u64 }));
    assert_eq!(replies.message().await.unwrap().unwrap().reply, placed);
}

/// Starts a host that demands `secret`; returns its address.
async fn guarded(secret: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let host = Host::new(Arc::new(Nobody), Channels::default(), CancellationToken::new());
    tokio::spawn(host.serve(listener, security(Some(secret)).guard().unwrap()));
    address
}

fn security(secret: Option<&str>) -> LinkSecurity {
    LinkSecurity { cluster_secret: secret.map(|text| text.parse().unwrap()), ..LinkSecurity::default() }
}

fn link(address: &str, secret: Option<&str>) -> Link {
    let keep_alive = KeepAlive { interval: KEEPALIVE, timeout: KEEPALIVE, while_idle: false };
    security(secret).channels().unwrap().open(address, keep_alive).unwrap()
}

#[tokio::test]
async fn only_who_shows_the_secret_is_served() {
    const SECRET: &str = "a-secret-of-the-cluster";
    let address = guarded(SECRET).await;
    let describe = async |secret| NodeClient::new(link(&address, secret)).describe(v1::DescribeRequest {}).await;
    describe(Some(SECRET)).await.unwrap();
    for wrong in [None, Some("a-secret-of-the-clustes"), Some("a-secret-of-the-cluster-and-more")] {
        let refused = describe(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(ServiceError::from(refused).code, ErrorCode::UntrustedCaller);
    }
}

#[tokio::test]
async fn a_path_that_no_service_has_wants_the_secret_and_health_does_not() {
    let address = guarded("a-secret-of-the-cluster").await;
    let stranger = link(&address, None);
    let shipped = KvTransferClient::new(stranger.clone()).ship(tokio_stream::iter([])).await;
    assert_eq!(shipped.unwrap_err().code(), Code::Unauthenticated);
    let checked = HealthClient::new(stranger).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(checked.into_inner().status(), ServingHealth::Serving);
}

#[tokio::test]
async fn the_engines_end_is_the_nodes_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    let life = Life::begin("test-engine", move || {
        let _ = waits.recv();
        panic!("a defect");
    })
    .unwrap();
    let host = Host::new(Arc::new(Nobody), Channels::default(), CancellationToken::new()).with_life(&life);
    let serving = tokio::spawn(host.serve(listener, Guard::default()));
    let channel = Endpoint::from_shared(address.clone()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: READINESS.to_owned() };
    let mut health = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingHealth::Serving);
    assert!(!serving.is_finished());
    drop(goes_on);
    assert_eq!(health.message().await.unwrap().unwrap().status(), ServingHealth::NotServing);
    // The host ends although a call still runs: the health watch.
    let served = timeout(Duration::from_secs(20), serving).await.expect("it serves on").unwrap();
    assert!(served.unwrap_err().to_string().contains("engine"));
    assert!(Endpoint::from_shared(address).unwrap().connect().await.is_err(), "it listens on");
}

#[tokio::test]
async fn a_stop_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    let life = Life::begin("test-engine", move || {
        let _ = waits.recv();
    })
    .unwrap();
    let shutdown = CancellationToken::new();
    let host = Host::new(Arc::new(Nobody), Channels::default(), shutdown.clone()).with_life(&life);
    let serving = tokio::spawn(host.serve(listener, Guard::default()));
    shutdown.cancel();
    timeout(Duration::from_secs(20), serving).await.unwrap().unwrap().unwrap();
    drop(goes_on);
}
