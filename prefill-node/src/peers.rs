//! Connections to decode nodes, kept between requests.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use secateur_proto::{ErrorCode, ServiceError};
use tonic::transport::{Channel, Endpoint};

/// A decode node that does not take a connection within this is treated as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that vanished without closing its connection is noticed this soon.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Channels by address. A channel reconnects by itself and resolves the name anew when it does.
#[derive(Default)]
pub struct Peers {
    // Held only to look up or insert, never across an await.
    channels: Mutex<HashMap<String, Channel>>,
}

impl Peers {
    /// The channel to `address` ("host:port"); connects when first used.
    pub fn channel(&self, address: &str) -> Result<Channel, ServiceError> {
        let mut channels = self.channels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| {
            ServiceError::new(ErrorCode::InvalidRequest, "the decode address is not host:port")
                .with_param("decode_address")
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_lazy();
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}
