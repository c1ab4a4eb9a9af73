//! Connections to decode nodes, kept between requests.

use std::{collections::HashMap, sync::Mutex};

use secateur_channel::{Channels, Link, OpenError};
use secateur_proto::{ErrorCode, ServiceError};

/// Most channels that are kept: nodes come and go under ever new addresses. At the limit all channels are forgotten;
/// running shipments keep theirs, later ones connect again.
const LINKS_MAX: usize = 4_096;

/// A decode node, as the router found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Address of the node, as "host:port".
    pub address: String,
    /// Host name whose lookup gave the address; `None` if the address itself was configured.
    pub name: Option<String>,
}

/// Channels to peers. A channel reconnects by itself, and then resolves its host name again. A peer that vanished, was
/// cut off or stopped is noticed within seconds, and shipments to it fail.
#[derive(Default)]
pub struct Peers {
    channels: Channels,
    // The lock is held only to look up or insert, never across an await.
    links: Mutex<HashMap<Peer, Link>>,
}

impl Peers {
    /// Creates an empty set of connections, which are opened through `channels`.
    pub fn new(channels: Channels) -> Self {
        Self { channels, links: Mutex::default() }
    }

    /// The channel to `peer`; connects when first used.
    pub fn channel(&self, peer: &Peer) -> Result<Link, ServiceError> {
        let mut links = self.links.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(link) = links.get(peer) {
            return Ok(link.clone());
        }
        let link = self.channels.open_watched(&peer.address, peer.name.as_deref()).map_err(|error| {
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
