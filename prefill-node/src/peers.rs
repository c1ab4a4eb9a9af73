//! Connections to decode nodes, kept between requests.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use secateur_channel::{Channels, KeepAlive, Link, OpenError};
use secateur_node::host::KEEPALIVE_PATIENCE;
use secateur_proto::{ErrorCode, ServiceError};

/// A peer that vanished without closing its connection is noticed while something is shipped to it.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { interval: Duration::from_secs(2), timeout: KEEPALIVE_PATIENCE, while_idle: false };

/// Nodes come and go under ever new addresses. With more than so many, all channels are made anew: shipments under way
/// keep theirs, the next ones connect again.
const LINKS_MAX: usize = 4_096;

/// A decode node, as the router found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// "host:port".
    pub address: String,
    /// The host name that led there; none: the address itself was configured.
    pub name: Option<String>,
}

/// Channels to peers. A channel reconnects by itself and resolves the name anew when it does.
#[derive(Default)]
pub struct Peers {
    channels: Channels,
    // Held only to look up or insert, never across an await.
    links: Mutex<HashMap<Peer, Link>>,
}

impl Peers {
    /// Connections that `channels` open.
    pub fn new(channels: Channels) -> Self {
        Self { channels, links: Mutex::default() }
    }

    /// The channel to `peer`; connects when first used.
    pub fn channel(&self, peer: &Peer) -> Result<Link, ServiceError> {
        let mut links = self.links.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(link) = links.get(peer) {
            return Ok(link.clone());
        }
        let link = self.channels.open_as(&peer.address, peer.name.as_deref(), KEEP_ALIVE).map_err(|error| {
            let message = match error {
                OpenError::Address(_) => "the decode address is not host:port",
                OpenError::Tls { .. } => "the decode address has no name that a certificate can bear",
            };
            ServiceError::new(ErrorCode::InvalidRequest, message).with_param("decode_address")
        })?;
        if links.len() >= LINKS_MAX {
            links.clear();
        }
        links.insert(peer.clone(), link.clone());
        Ok(link)
    }
}
