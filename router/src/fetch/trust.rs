//! Who signs for the servers that pictures are fetched from: the authorities that the operating system trusts.

use std::sync::Arc;

use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

/// Why there can be no connections over TLS.
#[derive(Debug, thiserror::Error)]
#[error("pictures cannot be fetched over TLS: {0}")]
pub struct TrustError(#[from] rustls::Error);

/// TLS for calls to servers that the operating system's authorities have signed. `SSL_CERT_FILE` and `SSL_CERT_DIR` name
/// others. Reads files.
pub fn system_trust() -> Result<Arc<ClientConfig>, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        tracing::warn!(?errors, "this system has no certificates of authorities: pictures are not fetched over https");
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
