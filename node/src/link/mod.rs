//! Measurement of the link to another node, through the same stack as shipments: the same gRPC, frames and windows.
//!
//! One node sends ([`Links::measure`]), the other discards and acknowledges ([`Links::sink`]); nodes of both roles can
//! do both. A node takes part in one measurement at a time, so that two do not share a link without knowing, and every
//! measurement is bounded in bytes and time, so that it cannot hold up shipments for long.

mod bounds;
mod measure;
mod sink;

use secateur_channel::{Channels, Link};
use secateur_proto::{ErrorCode, ServiceError, v1};
use tonic::Streaming;

use crate::{Permit, Permits};
use bounds::Bounds;
pub use bounds::{BYTES_MAX, SEND_MAX};
pub use sink::Acks;

/// A node's side of link measurements, as sender and as receiver.
#[derive(Debug)]
pub struct Links {
    channels: Channels,
    turn: Permits,
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

impl Links {
    /// Links that are opened through `channels`.
    pub fn new(channels: Channels) -> Self {
        Self { channels, turn: Permits::new(1) }
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

    fn turn(&self, taken: &str) -> Result<Permit, ServiceError> {
        let refused = || ServiceError::new(ErrorCode::Overloaded, format!("{taken}; try again in some seconds"));
        self.turn.take().ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests;
