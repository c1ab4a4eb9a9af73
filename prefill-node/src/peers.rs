//! Connections to decode nodes, kept between requests.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use secateur_channel::{Channels, KeepAlive, Link, OpenError};
use secateur_node::host::KEEPALIVE_PATIENCE;
use secateur_proto::{ErrorCode, ServiceError};

/// A peer that vanished without closing its connection is noticed while something is shipped to it.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_secs(2), timeout: KEEPALIVE_PATIENCE, while_idle: false };

/// Channels by address. A channel reconnects by itself and resolves the name anew when it does.
#[derive(Default)]
pub struct Peers {
    channels: Channels,
    // Held only to look up or insert, never across an await.
    links: Mutex<HashMap<String, Link>>,
}

impl Peers {
    /// Connections that `channels` open.
    pub fn new(channels: Channels) -> Self {
        Self { channels, links: Mutex::default() }
    }

    /// The channel to `address` ("host:port"); connects when first used.
    pub fn channel(&self, address: &str) -> Result<Link, ServiceError> {
        let mut links = self.links.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(link) = links.get(address) {
            return Ok(link.clone());
        }
        let link = self.channels.open(address, KEEP_ALIVE).map_err(|error| {
            let message = match error {
                OpenError::Address(_) => "the decode address is not host:port",
                OpenError::Tls { .. } => "the decode address has no name that a certificate can bear",
            };
            ServiceError::new(ErrorCode::InvalidRequest, message).with_param("decode_address")
        })?;
        links.insert(address.to_owned(), link.clone());
        Ok(link)
    }
}
