//! The client's side: channels that notice a dead peer. Names are resolved again on every connect, so a node that moved
//! is found.

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

/// A connection attempt that takes longer is a lost packet or a lost machine. The TLS handshake has as long again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a peer of a watched connection is pinged that says nothing by itself, so that a living one has something to say
/// within [`crate::SILENCE_MAX`].
const PING: Duration = Duration::from_secs(1);
/// The HTTP/2 library's own limit on an answer to a ping, on watched connections: only a backstop, since on a slow link the
/// ping comes behind megabytes in the buffers on the way.
const PONG_MAX: Duration = Duration::from_secs(60);

/// How soon a peer that vanished without a word is noticed: after at most interval + timeout.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Between HTTP/2 pings.
    pub interval: Duration,
    /// For the answer to one.
    pub timeout: Duration,
    /// Whether to ping while no call is under way.
    pub while_idle: bool,
}

/// A node address that is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is not a node address; write host:port")]
pub struct AddressError {
    /// As configured.
    pub address: String,
}

/// Why there is no channel to an address.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No certificate can bear this host's name.
    #[error("{address:?} cannot be called over TLS; give its name with --tls-server-name")]
    Tls {
        /// As configured.
        address: String,
    },
}

/// Opens channels to nodes, all with the same protection. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    tls: Option<ClientTlsConfig>,
    /// One name was configured that every certificate must bear.
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

    /// A channel to `address` (`host:port`) that connects when it is first used, and again whenever the connection is
    /// lost.
    pub fn open(&self, address: &str, keep_alive: KeepAlive) -> Result<Link, OpenError> {
        self.open_as(address, None, keep_alive)
    }

    /// The same to an address that was found under `name`, which the peer's certificate must bear unless another one is
    /// configured for all.
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

    /// The same for bulk on links of any speed: a connection that is lost once its peer says nothing and its machine
    /// acknowledges nothing for [`crate::SILENCE_MAX`], however long an answer to a ping takes.
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

/// Makes watched connections to a URI's `host:port`.
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

/// Checks `host:port`.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let refused = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    if is_port && is_host { Ok(()) } else { Err(refused()) }
}

/// Whether a call failed because there was no connection to be had.
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
        // An I/O error hides what it wraps from `source`.
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
