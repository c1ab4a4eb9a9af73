//! TLS towards clients: the certificate, and the handshake.

use std::{io, sync::Arc, time::Duration};

use secateur_channel::{ALPN_H2, Certificate, SecurityError};
use secateur_proto::{ErrorCode, ServiceError};
use tokio::{io::AsyncWriteExt, sync::watch, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use super::{protocol::PROTOCOLS, wire::Wire};
use crate::{config::RouterSettings, openai::error_body::ErrorBody};

/// Longest TLS handshake: it takes two round trips.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// First byte of a TLS connection: the type of a record that holds a handshake.
const HANDSHAKE: u8 = 0x16;

/// The TLS configuration that is in force, at any time.
pub type Configuration = watch::Receiver<Arc<ServerConfig>>;

/// Reads and checks the certificate for clients, if the settings give one.
pub fn certificate(settings: &RouterSettings) -> Result<Option<Certificate>, SecurityError> {
    let (cert, key) = (settings.http_tls_cert.as_deref(), settings.http_tls_key.as_deref());
    Certificate::open([("--http-tls-cert", cert), ("--http-tls-key", key)], PROTOCOLS)
}

/// Does the handshake; `None` if it fails or takes too long. A client that does not begin one is told to.
pub async fn accept(wire: Wire, tls: Arc<ServerConfig>) -> Option<TlsStream<Wire>> {
    match timeout(HANDSHAKE_MAX, shake(wire, tls)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake did not finish in time"),
    }
    None
}

/// Whether client and router have agreed on HTTP/2.
pub fn is_http2(stream: &TlsStream<Wire>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(ALPN_H2)
}

async fn shake(mut wire: Wire, tls: Arc<ServerConfig>) -> io::Result<TlsStream<Wire>> {
    match wire.first_byte().await? {
        Some(HANDSHAKE) => TlsAcceptor::from(tls).accept(wire).await,
        Some(_) => {
            wire.write_all(&refusal()).await?;
            Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks without TLS"))
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The answer to a request without TLS, as HTTP/1.1.
fn refusal() -> Vec<u8> {
    let error = ServiceError::new(ErrorCode::InvalidRequest, "this port speaks HTTP over TLS; use https:// in the URL");
    // Plain structs with string keys: writing them to memory does not fail.
    let body = serde_json::to_string(&ErrorBody::from(&error)).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\
         \r\n{body}"
    )
    .into_bytes()
}
