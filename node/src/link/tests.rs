//! Tests with two hosts that measure the link between them, and of the measurements that they refuse.

use std::{sync::Arc, time::Duration};

use secateur_channel::Guard;
use secateur_common::shutdown::CancellationToken;
use secateur_proto::v1::{MeasureLinkRequest, NodeDescription, Probe, node_client::NodeClient};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::host::{Describe, Host};

struct Nobody;

impl Describe for Nobody {
    fn describe(&self, _: bool) -> NodeDescription {
        NodeDescription::default()
    }
}

/// Starts a host; returns its address and a client connected to it.
async fn host() -> (String, NodeClient<Link>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(
        Host::new(Arc::new(Nobody), Channels::default(), CancellationToken::new()).serve(listener, Guard::default()),
    );
    let client = NodeClient::new(open(&Channels::default(), &address).unwrap());
    (address, client)
}

fn request(address: &str) -> MeasureLinkRequest {
    MeasureLinkRequest { address: address.to_owned(), bytes_max: (5 << 20) + 7, milliseconds_max: 9_000 }
}

#[tokio::test]
async fn a_link_has_a_rate_and_a_round_trip_again_and_again() {
    let ((_, mut from), (to, _)) = (host().await, host().await);
    for _ in 0..3 {
        let report = from.measure_link(request(&to)).await.unwrap().into_inner();
        assert_eq!(report.bytes, (5 << 20) + 7);
        assert!(report.round_trip_ms > 0.0 && report.seconds > 0.0, "{report:?}");
        let rate = report.bytes as f64 * 8.0 / 1e6 / report.seconds;
        assert!((report.mbit_s / rate - 1.0).abs() < 1e-9, "{report:?}");
    }
}

#[tokio::test]
async fn time_bounds_a_measurement_as_bytes_do() {
    let ((_, mut from), (to, _)) = (host().await, host().await);
    let asked = MeasureLinkRequest { bytes_max: BYTES_MAX, milliseconds_max: 50, ..request(&to) };
    let report = from.measure_link(asked).await.unwrap().into_inner();
    assert!(report.bytes > 0 && report.bytes < BYTES_MAX, "{report:?}");
}

#[tokio::test]
async fn what_is_malformed_is_refused_by_name() {
    let (_, mut from) = host().await;
    let good = request("127.0.0.1:9");
    let cases = [
        ("address", MeasureLinkRequest { address: "http://x:1".into(), ..good.clone() }),
        ("bytes_max", MeasureLinkRequest { bytes_max: 0, ..good.clone() }),
        ("bytes_max", MeasureLinkRequest { bytes_max: BYTES_MAX + 1, ..good.clone() }),
        ("milliseconds_max", MeasureLinkRequest { milliseconds_max: 0, ..good.clone() }),
        ("milliseconds_max", MeasureLinkRequest { milliseconds_max: 10_001, ..good.clone() }),
    ];
    for (field, asked) in cases {
        let refused = ServiceError::from(from.measure_link(asked).await.unwrap_err());
        assert_eq!((refused.code, refused.param.as_deref()), (ErrorCode::InvalidRequest, Some(field)));
    }
}

#[tokio::test]
async fn a_dead_address_is_said_to_be_the_other_one() {
    let (_, mut from) = host().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let refused = ServiceError::from(from.measure_link(request(&free)).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::Unavailable);
    assert!(refused.message.contains("other address"), "{refused}");
}

#[tokio::test]
async fn a_node_is_part_of_one_measurement_at_a_time() {
    let ((from_address, mut from), (to, mut to_client)) = (host().await, host().await);
    let (probes, outgoing) = mpsc::channel(1);
    let mut acks = to_client.sink(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    probes.send(Probe { payload: vec![1; 3].into() }).await.unwrap();
    assert_eq!(acks.message().await.unwrap().unwrap().bytes, 3);
    let refused = ServiceError::from(from.measure_link(request(&to)).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::Overloaded, "{refused}");
    let refused = ServiceError::from(to_client.measure_link(request(&from_address)).await.unwrap_err());
    assert_eq!(refused.code, ErrorCode::Overloaded, "{refused}");
    drop(probes);
    assert!(acks.message().await.unwrap().is_none());
    from.measure_link(request(&to)).await.unwrap();
}

#[tokio::test]
async fn a_sender_that_vanishes_leaves_the_node_free() {
    let (_, mut to) = host().await;
    let (probes, outgoing) = mpsc::channel(1);
    let acks = to.sink(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    drop((probes, acks));
    // The stream's reset still has to arrive, so the node may be taken for a moment.
    let again = async {
        loop {
            let (_probes, outgoing) = mpsc::channel::<Probe>(1);
            if to.sink(ReceiverStream::new(outgoing)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the node stayed taken");
}
