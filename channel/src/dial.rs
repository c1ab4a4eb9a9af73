//! The client's side of connections: channels that notice a dead peer. Names are resolved again on every connect, so a
//! node that moved is found.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::rustls;
use tonic::{
    ConnectError, Status,
    codegen::{Service, http::Uri},
    transport::{ClientTlsConfig, Endpoint},
};

use crate::{link::Link, secret::Secret, watched::Watched};

/// Longest connection attempt; one that takes longer means a lost packet or a lost machine. The TLS handshake gets as
/// long again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval of pings on a watched connection, so that a live peer that sends nothing else still sends answers within
/// [`crate::SILENCE_MAX`].
const PING: Duration = Duration::from_secs(1);
/// The HTTP/2 library's own limit on the answer to a ping, on watched connections. It is only a backstop, since on a
/// slow link the ping queues behind megabytes in buffers on the way.
const PONG_MAX: Duration = Duration::from_secs(60);

/// Ping settings of a connection. A peer that vanished silently is noticed after at most `interval + timeout`.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Time between HTTP/2 pings.
    pub interval: Duration,
    /// Longest time for the answer to a ping.
    pub timeout: Duration,
    /// Whether to ping while no call is running.
    pub while_idle: bool,
}

/// Error for a node address that is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is not a node address; write host:port")]
pub struct AddressError {
    /// The address as configured.
    pub address: String,
}

/// Reason why a channel to an address cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is malformed.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host is not a name that a certificate can bear.
    #[error("{address:?} cannot be called over TLS; give its name with --tls-server-name")]
    Tls {
        /// The address as configured.
        address: String,
    },
}

/// Opens channels to nodes, all with the same protection. The default has no protection.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    tls: Option<ClientTlsConfig>,
    /// Whether one name is configured that every node's certificate must bear.
    has_server_name: bool,
    secret: Option<Secret>,
}

impl Channels {
    pub(crate) fn new(tls: Option<ClientTlsConfig>, has_server_name: bool, secret: Option<Secret>) -> Self {
        Self { tls: tls.map(|tls| tls.timeout(CONNECT_TIMEOUT)), has_server_name, secret }
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a channel to `address` (`host:port`). It connects when it is first used, and again whenever the connection
    /// is lost.
    pub fn open(&self, address: &str, keep_alive: KeepAlive) -> Result<Link, OpenError> {
        self.open_as(address, None, keep_alive)
    }

    /// Opens a channel like [`Channels::open`] to an address that was found by looking up `name`. The peer's
    /// certificate must bear `name`, unless one name is configured for all nodes.
    pub fn open_as(&self, address: &str, name: Option<&str>, keep_alive: KeepAlive) -> Result<Link, OpenError> {
        let channel = self
            .endpoint(address, name)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(keep_alive.while_idle)
            .connect_lazy();
        Ok(Link::new(channel, self.secret.as_ref()))
    }

    /// Opens a channel like [`Channels::open_as`] for bulk transfer on links of any speed: its connection fails once
    /// the peer sends nothing and its machine acknowledges nothing for [`crate::SILENCE_MAX`], however long the answer
    /// to a ping takes.
    pub fn open_watched(&self, address: &str, name: Option<&str>) -> Result<Link, OpenError> {
        let channel = self
            .endpoint(address, name)?
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG_MAX)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(Dial);
        Ok(Link::new(channel, self.secret.as_ref()))
    }

    fn endpoint(&self, address: &str, name: Option<&str>) -> Result<Endpoint, OpenError> {
        check_address(address)?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|_| AddressError { address: address.to_owned() })?;
        if let Some(tls) = &self.tls {
            let refused = |_| OpenError::Tls { address: address.to_owned() };
            let tls = match name.filter(|_| !self.has_server_name) {
                Some(name) => tls.clone().domain_name(name),
                None => tls.clone(),
            };
            endpoint = endpoint.tls_config(tls).map_err(refused)?;
        }
        Ok(endpoint)
    }
}

/// Connector that makes watched connections to a URI's `host:port`.
#[derive(Clone, Copy)]
struct Dial;

impl Service<Uri> for Dial {
    type Response = TokioIo<Watched>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let address = uri.authority().ok_or(io::ErrorKind::InvalidInput)?.as_str();
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
            Ok(TokioIo::new(Watched::dialled(stream)))
        })
    }
}

/// Checks that `address` is `host:port`.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let refused = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    if is_port && is_host { Ok(()) } else { Err(refused()) }
}

/// Whether a call failed because no connection could be made.
pub fn is_connect_failure(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether a call failed because the two sides did not agree on TLS, or on each other's certificates.
pub fn is_tls_failure(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        // An I/O error does not return the error that it wraps from `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for address in ["127.0.0.1:4000", "prefill:4000", "[::1]:4000", "a.b-c.svc:1"] {
            check_address(address).unwrap();
        }
        for address in ["", ":1", "host", "host:", "host:0", "host:x", "http://host:1", "a b:1"] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
