//! Connections to an HTTPS server, for probes of a router.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, pki_types::ServerName},
};

use crate::{
    pem::Trust,
    settings::{LinkSecurity, SecurityError},
};

/// Reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The settings do not say what to trust.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// Nothing answers.
    #[error("nothing answers at {host}:{port}: {source}")]
    Connect {
        /// Host as given.
        host: String,
        /// Port as given.
        port: u16,
        /// Error of the system.
        source: io::Error,
    },
    /// The server speaks no TLS, or shows a certificate that is not trusted.
    #[error("no TLS connection to {host}:{port}: {source}")]
    Tls {
        /// Host as given.
        host: String,
        /// Port as given.
        port: u16,
        /// Error of the TLS library.
        source: io::Error,
    },
}

/// Connects to a server that must show a certificate of an authority in `--tls-ca`, for the name `--tls-server-name`, or
/// for `host` if that is not given.
pub async fn open_https(
    security: &LinkSecurity,
    host: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, HttpsError> {
    let tls = |source| HttpsError::Tls { host: host.to_owned(), port, source };
    let Some(authorities) = &security.tls_ca else {
        let why = ", whose certificates say whom to trust";
        return Err(SecurityError::Half { given: "an https:// URL", missing: "--tls-ca", why }.into());
    };
    let trusted = Trust::read(authorities).map_err(SecurityError::from)?;
    let name = security.tls_server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| SecurityError::ServerName { name })?;
    let config = trusted.https().map_err(|error: rustls::Error| tls(io::Error::other(error)))?;
    let connected = TcpStream::connect((host, port)).await;
    let stream = connected.map_err(|source| HttpsError::Connect { host: host.to_owned(), port, source })?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(tls)
}
