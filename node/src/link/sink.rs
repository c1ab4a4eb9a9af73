//! The receiving end of a link measurement: counts probe bytes, acknowledges them and discards them.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError, v1};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::bounds::{BYTES_MAX, SEND_MAX};
use crate::Permit;

/// Stream of acknowledgements to the measuring node.
pub type Acks = ReceiverStream<Result<v1::ProbeAck, Status>>;

const ACKS_IN_FLIGHT: usize = 64;
/// Longest life of a measurement's stream: pings and a slow link's first frame, then [`SEND_MAX`] of sending.
const SINK_MAX: Duration = Duration::from_secs(20).saturating_add(SEND_MAX);

/// Discards `probes` and acknowledges them, holding `turn` until they end.
pub fn run(probes: Streaming<v1::Probe>, turn: Permit) -> Acks {
    let (acks, stream) = mpsc::channel(ACKS_IN_FLIGHT);
    tokio::spawn(async move {
        let refused = match timeout(SINK_MAX, swallow(probes, &acks)).await {
            Ok(Ok(())) => None,
            Ok(Err(refused)) => Some(refused),
            Err(_) => Some(ServiceError::new(ErrorCode::Timeout, "the measurement took too long").into()),
        };
        // Released before the other node sees the end of the stream, so that it can start another measurement at once.
        drop(turn);
        if let Some(refused) = refused {
            let _ = acks.send(Err(refused)).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn swallow(
    mut probes: Streaming<v1::Probe>,
    acks: &mpsc::Sender<Result<v1::ProbeAck, Status>>,
) -> Result<(), Status> {
    let mut bytes = 0;
    while let Some(probe) = probes.message().await? {
        bytes += probe.payload.len() as u64;
        if bytes > BYTES_MAX {
            let text = format!("a measurement has at most {BYTES_MAX} bytes");
            return Err(ServiceError::new(ErrorCode::PayloadTooLarge, text).into());
        }
        if acks.send(Ok(v1::ProbeAck { bytes })).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
