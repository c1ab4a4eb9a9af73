//! The sending end of a link measurement: small probes for the round trip, then frames of a shipment's size for the
//! rate.

use std::time::Duration;

use secateur_channel::Link;
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{self, node_client::NodeClient},
};
use secateur_transfer::frame::FRAME_BYTES;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::bounds::{Bounds, SEND_MAX};

/// Frames buffered between sender and transport, as many as for a shipment.
const FRAMES_IN_FLIGHT: usize = 4;
/// Number of small probes for the round trip; the first only warms up the connection and is not counted.
const PINGS: usize = 21;
/// Least number of small probes: pinging stops after [`PINGING_MAX`], but not before this many.
const PINGS_MIN: usize = 4;
const PINGING_MAX: Duration = Duration::from_millis(500);
/// Time that a slow link gets for the round trips and its first frame, on top of [`SEND_MAX`].
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait until the other node has seen the end, so that it is free for the next measurement.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// An open stream to the other node's sink.
struct Way {
    probes: mpsc::Sender<v1::Probe>,
    acks: Streaming<v1::ProbeAck>,
}

/// Measures over `channel`.
pub async fn run(channel: Link, bounds: Bounds) -> Result<v1::LinkReport, ServiceError> {
    let whole = async {
        let mut way = Way::open(channel).await?;
        let round_trip = way.round_trip().await?;
        let (bytes, time) = way.rate(bounds).await?;
        way.close().await;
        let seconds = time.as_secs_f64().max(1e-9);
        let mbit_s = bytes as f64 * 8.0 / 1e6 / seconds;
        Ok(v1::LinkReport { round_trip_ms: round_trip.as_secs_f64() * 1e3, mbit_s, bytes, seconds })
    };
    let slow =
        |_| ServiceError::new(ErrorCode::Timeout, "the link took no frame of 1 MiB within the time of a measurement");
    timeout(PATIENCE + SEND_MAX, whole).await.map_err(slow)?
}

impl Way {
    async fn open(channel: Link) -> Result<Self, ServiceError> {
        let (probes, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT);
        let acks = NodeClient::new(channel).sink(ReceiverStream::new(outgoing)).await.map_err(failure)?.into_inner();
        Ok(Self { probes, acks })
    }

    /// Median of several round trips.
    async fn round_trip(&mut self) -> Result<Duration, ServiceError> {
        let started = Instant::now();
        let mut found = Vec::with_capacity(PINGS);
        while found.len() < PINGS && (found.len() < PINGS_MIN || started.elapsed() < PINGING_MAX) {
            let sent = Instant::now();
            // If the stream broke, `ack` below returns the reason.
            let _ = self.probes.send(v1::Probe::default()).await;
            self.ack().await?;
            found.push(sent.elapsed());
        }
        Ok(median(&mut found[1..]))
    }

    /// Payload bytes that were acknowledged, and the time until their acknowledgement.
    async fn rate(&mut self, bounds: Bounds) -> Result<(u64, Duration), ServiceError> {
        let started = Instant::now();
        let probes = self.probes.clone();
        let sending = send(probes, bounds.bytes);
        tokio::pin!(sending);
        let mut is_sending = true;
        let mut arrived = None;
        loop {
            tokio::select! {
                () = &mut sending, if is_sending => is_sending = false,
                // The time limit applies only after the first acknowledgement: before it there is no rate to report.
                () = sleep_until(started + bounds.time), if arrived.is_some() => break,
                ack = self.ack() => {
                    let bytes = ack?.bytes;
                    arrived = Some((bytes, started.elapsed()));
                    if bytes >= bounds.bytes {
                        break;
                    }
                }
            }
        }
        arrived.ok_or_else(lost)
    }

    async fn ack(&mut self) -> Result<v1::ProbeAck, ServiceError> {
        self.acks.message().await.map_err(failure)?.ok_or_else(lost)
    }

    /// Ends the stream and waits up to [`GOODBYE_MAX`] until the other node has ended it too.
    async fn close(mut self) {
        drop(self.probes);
        let end = async { while let Ok(Some(_)) = self.acks.message().await {} };
        // On a timeout, dropping the stream ends the measurement at the other node.
        let _ = timeout(GOODBYE_MAX, end).await;
    }
}

/// Sends frames of a shipment's size until `bytes` are sent, or the receiver of `probes` is gone.
async fn send(probes: mpsc::Sender<v1::Probe>, bytes: u64) {
    let mut payload = vec![0; FRAME_BYTES];
    // The payload is incompressible: a link that compresses its traffic must not look faster than it is for KV, which
    // compresses badly.
    blake3::Hasher::new().finalize_xof().fill(&mut payload);
    let payload = v1::Probe { payload: payload.into() }.payload;
    let mut left = bytes;
    while left > 0 {
        let count = left.min(FRAME_BYTES as u64);
        if probes.send(v1::Probe { payload: payload.slice(..count as usize) }).await.is_err() {
            return;
        }
        left -= count;
    }
}

fn median(durations: &mut [Duration]) -> Duration {
    durations.sort_unstable();
    durations.get(durations.len() / 2).copied().unwrap_or_default()
}

fn lost() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the connection to the other node was lost")
}

/// The error for the caller. The transport's own text may name addresses, so only the kind of failure is passed on.
fn failure(status: Status) -> ServiceError {
    if is_from_service(&status) {
        return status.into();
    }
    match ServiceError::from(status).code {
        ErrorCode::Incompatible => {
            let text = "the other node is of a version that cannot be measured; run one version everywhere";
            ServiceError::new(ErrorCode::Incompatible, text)
        }
        _ => ServiceError::new(ErrorCode::Unavailable, "no node answers at the other address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_is_the_median() {
        let ms = Duration::from_millis;
        assert_eq!(median(&mut [ms(9), ms(1), ms(100)]), ms(9));
        assert_eq!(median(&mut []), Duration::ZERO);
    }
}
