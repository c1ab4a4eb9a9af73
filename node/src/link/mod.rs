//! How fast the way to another node is, through the stack that shipments take: the same gRPC, frames and windows.
//!
//! One node sends ([`Links::measure`]), the other swallows and acknowledges ([`Links::sink`]); both roles have both. A node
//! is part of one measurement at a time, so that two do not share a link unawares, and every one is bounded in bytes and
//! time, so that it cannot hold up shipments for long.

mod measure;
mod sink;

use std::time::Duration;

use secateur_channel::{Channels, Link};
use secateur_proto::{ErrorCode, ServiceError, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Place, Places};

/// Payload of one measurement at most.
pub const BYTES_MAX: u64 = 1 << 30;
/// Duration of one measurement at most, pings apart.
pub const SEND_MAX: Duration = Duration::from_secs(10);

/// Acknowledgements to the measuring node.
pub type Acks = ReceiverStream<Result<v1::ProbeAck, Status>>;

/// A node's part in measurements.
#[derive(Debug)]
pub struct Links {
    channels: Channels,
    turn: Places,
}

/// The way to `address` ("host:port"); connects when first used.
pub fn open(channels: &Channels, address: &str) -> Result<Link, ServiceError> {
    open_as(channels, address, None)
}

/// The same to an address that was found under a host name, which a certificate bears.
pub fn open_as(channels: &Channels, address: &str, name: Option<&str>) -> Result<Link, ServiceError> {
    channels
        .open_watched(address, name)
        .map_err(|error| ServiceError::new(ErrorCode::InvalidRequest, error.to_string()).with_param("address"))
}

/// What a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    bytes: u64,
    time: Duration,
}

impl Links {
    /// Measures what `channels` open.
    pub fn new(channels: Channels) -> Self {
        Self { channels, turn: Places::new(1) }
    }

    /// Measures the way to the node at `request.address`.
    pub async fn measure(&self, request: &v1::MeasureLinkRequest) -> Result<v1::LinkReport, ServiceError> {
        let bounds = Bounds::of(request)?;
        let channel = open(&self.channels, &request.address)?;
        let _turn = self.turn("this node is part of another measurement")?;
        measure::run(channel, bounds).await
    }

    /// Swallows what a measuring node sends.
    pub fn sink(&self, probes: Streaming<v1::Probe>) -> Result<Acks, ServiceError> {
        Ok(sink::run(probes, self.turn("the other node is part of another measurement")?))
    }

    fn turn(&self, taken: &str) -> Result<Place, ServiceError> {
        let refused = || ServiceError::new(ErrorCode::Overloaded, format!("{taken}; try again in some seconds"));
        self.turn.take().ok_or_else(refused)
    }
}

impl Bounds {
    fn of(request: &v1::MeasureLinkRequest) -> Result<Self, ServiceError> {
        let refused = |field: &str, limit: u128| {
            ServiceError::new(ErrorCode::InvalidRequest, format!("{field} must be 1 to {limit}")).with_param(field)
        };
        if !(1..=BYTES_MAX).contains(&request.bytes_max) {
            return Err(refused("bytes_max", BYTES_MAX.into()));
        }
        let time = Duration::from_millis(request.milliseconds_max.into());
        if time.is_zero() || time > SEND_MAX {
            return Err(refused("milliseconds_max", SEND_MAX.as_millis()));
        }
        Ok(Self { bytes: request.bytes_max, time })
    }
}

#[cfg(test)]
mod tests;
