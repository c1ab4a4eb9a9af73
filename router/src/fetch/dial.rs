//! Connections to the hosts of pictures. The addresses that were judged are the ones that are connected to.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{failure::Failure, target::Target};
use crate::lookup::Lookup;

/// Most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// What a connection is made with.
#[derive(Clone)]
pub struct Means {
    /// Finds the addresses of a name.
    pub lookup: Lookup,
    /// Whom to trust over TLS.
    pub tls: Arc<ClientConfig>,
}

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to hosts.
pub struct Dialer {
    means: Means,
    /// Permits of lookups. A lookup cannot be cancelled and takes a thread, so it keeps its permit until it is over,
    /// also if nobody waits for it any more.
    lookups: Arc<Semaphore>,
}

impl Dialer {
    /// A dialer that looks up at most `lookups` names at once.
    pub fn new(means: Means, lookups: usize) -> Self {
        Self { means, lookups: Arc::new(Semaphore::new(lookups)) }
    }

    /// Connects to the target's host until `end`. The log has the reason for a failure, which the client is not told.
    pub async fn dial(&self, target: &Target, end: Instant) -> Result<Box<dyn Stream>, Failure> {
        let reached = timeout_at(end, self.reach(target, end)).await.unwrap_or_else(|_| Err(timed_out()));
        reached.map_err(|error| {
            tracing::info!(host = target.host(), %error, "the host of a picture cannot be reached");
            Failure::Unreachable
        })
    }

    async fn reach(&self, target: &Target, end: Instant) -> io::Result<Box<dyn Stream>> {
        let addresses = self.addresses(target).await?;
        if !target.permits(&addresses) {
            return Err(io::Error::other("an address of it is not one that pictures may be fetched from"));
        }
        let stream = connect(&addresses, end).await?;
        if target.is_tls() { self.secure(target, stream).await } else { Ok(Box::new(stream)) }
    }

    async fn addresses(&self, target: &Target) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = target.literal() {
            return Ok(vec![address]);
        }
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = (self.means.lookup)(target.host_and_port());
        let looked_up = tokio::spawn(async move {
            let _permit = permit;
            lookup.await
        });
        looked_up.await.map_err(io::Error::other)?
    }

    async fn secure(&self, target: &Target, stream: TcpStream) -> io::Result<Box<dyn Stream>> {
        let name = match target.literal() {
            Some(address) => ServerName::IpAddress(address.ip().into()),
            None => ServerName::try_from(target.host().to_owned()).map_err(io::Error::other)?,
        };
        Ok(Box::new(TlsConnector::from(self.means.tls.clone()).connect(name, stream).await?))
    }
}

/// Connects to the first address that answers. Each gets an equal part of the time that is left.
async fn connect(addresses: &[SocketAddr], end: Instant) -> io::Result<TcpStream> {
    let tried = addresses.len().min(ADDRESSES_MAX);
    let mut failure = timed_out();
    for (index, address) in addresses.iter().take(tried).enumerate() {
        let now = Instant::now();
        let share = end.saturating_duration_since(now) / (tried - index) as u32;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = timed_out(),
        }
    }
    Err(failure)
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
