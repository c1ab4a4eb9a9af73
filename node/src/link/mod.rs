//! Measurement of the link to another node, through the same stack as shipments: the same gRPC, frames and windows.
//!
//! One node sends ([`Links::measure`]), the other discards and acknowledges ([`Links::sink`]); nodes of both roles can
//! do both. A node takes part in one measurement at a time, so that two do not share a link without knowing, and every
//! measurement is bounded in bytes and time, so that it cannot hold up shipments for long.

mod measure;
mod sink;

use std::time::Duration;

use secateur_channel::{Channels, Link};
use secateur_proto::{ErrorCode, ServiceError, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Place, Places};

/// Most payload bytes of one measurement.
pub const BYTES_MAX: u64 = 1 << 30;
/// Longest duration of one measurement, without its pings.
pub const SEND_MAX: Duration = Duration::from_secs(10);

/// Stream of acknowledgements to the measuring node.
pub type Acks = ReceiverStream<Result<v1::ProbeAck, Status>>;

/// A node's side of link measurements, as sender and as receiver.
#[derive(Debug)]
pub struct Links {
    channels: Channels,
    turn: Places,
}

/// Opens a link to `address` ("host:port"); it connects when first used.
pub fn open(channels: &Channels, address: &str) -> Result<Link, ServiceError> {
    open_as(channels, address, None)
}

/// Opens a link to `address`, which was found by looking up the host name `name`: that name, not the address, must be
/// in the peer's certificate.
pub fn open_as(channels: &Channels, address: &str, name: Option<&str>) -> Result<Link, ServiceError> {
    channels
        .open_watched(address, name)
        .map_err(|error| ServiceError::new(ErrorCode::InvalidRequest, error.to_string()).with_param("address"))
}

/// Limits of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    bytes: u64,
    time: Duration,
}

impl Links {
    /// Links that are opened through `channels`.
    pub fn new(channels: Channels) -> Self {
        Self { channels, turn: Places::new(1) }
    }

    /// Measures the link to the node at `request.address`.
    pub async fn measure(&self, request: &v1::MeasureLinkRequest) -> Result<v1::LinkReport, ServiceError> {
        let bounds = Bounds::of(request)?;
        let channel = open(&self.channels, &request.address)?;
        let _turn = self.turn("this node is part of another measurement")?;
        measure::run(channel, bounds).await
    }

    /// Discards and acknowledges the probes of a measuring node.
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
