//! Certificates and keys. Files are read whole and checked at start-up, so that a bad file fails there and not at the
//! first call. Every error names the flag.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
};
use tonic::transport::{Certificate, ClientTlsConfig};

/// ALPN protocol name of HTTP/2 in a TLS handshake.
pub const ALPN_H2: &[u8] = b"h2";

/// Error for a certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read.
    #[error("{flag}: cannot read {}: {source}", path.display())]
    Read {
        /// Flag that gave the file.
        flag: &'static str,
        /// Path as given.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file lacks what it should contain, or its content is damaged.
    #[error("{flag}: {} is not usable: {reason}", path.display())]
    Content {
        /// Flag that gave the file.
        flag: &'static str,
        /// Path as given.
        path: PathBuf,
        /// Reason why the content cannot be used.
        reason: String,
    },
}

/// A file as read, and the flag that gave it, which errors name.
struct File<'a> {
    flag: &'static str,
    path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(flag: &'static str, path: &'a Path) -> Result<Self, PemError> {
        let read = std::fs::read(path);
        let bytes = read.map_err(|source| PemError::Read { flag, path: path.to_owned(), source })?;
        Ok(Self { flag, path, bytes })
    }

    fn unusable(&self, reason: impl ToString) -> PemError {
        PemError::Content { flag: self.flag, path: self.path.to_owned(), reason: reason.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let certificates = parsed.map_err(|error| self.unusable(error))?;
        if certificates.is_empty() { Err(self.unusable("there is no PEM certificate in it")) } else { Ok(certificates) }
    }
}

/// The files of a certificate and its key, and the flags that gave them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// File with the certificate and its chain.
    pub cert: PathBuf,
    /// File with the certificate's key.
    pub key: PathBuf,
    /// Flag that gave the certificate.
    pub cert_flag: &'static str,
    /// Flag that gave the key.
    pub key_flag: &'static str,
}

impl Pair {
    /// Reads both files; neither is checked.
    pub fn read(&self) -> Result<PairFiles<'_>, PemError> {
        Ok(PairFiles { cert: File::read(self.cert_flag, &self.cert)?, key: File::read(self.key_flag, &self.key)? })
    }
}

/// A certificate's and a key's file as read.
pub struct PairFiles<'a> {
    cert: File<'a>,
    key: File<'a>,
}

impl PairFiles<'_> {
    /// The bytes of both files.
    pub fn bytes(&self) -> [Vec<u8>; 2] {
        [self.cert.bytes.clone(), self.key.bytes.clone()]
    }
}

/// A certificate with its chain and its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The same two, as gRPC clients take them.
    pem: tonic::transport::Identity,
}

impl Identity {
    /// Checks both files; the key must be the certificate's.
    pub fn new(files: PairFiles<'_>) -> Result<Self, PemError> {
        let PairFiles { cert, key } = files;
        let chain = cert.certificates()?;
        let private = PrivateKeyDer::from_pem_slice(&key.bytes)
            .map_err(|_| key.unusable("there is no PEM private key in it (PKCS#8, PKCS#1 or SEC1)"))?;
        let signing = provider().key_provider.load_private_key(private.clone_key());
        let signing = signing.map_err(|error| key.unusable(error))?;
        CertifiedKey::new(chain.clone(), signing).keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key.unusable(format!("it is not the key of {}", cert.flag)),
            error => cert.unusable(error),
        })?;
        let pem = tonic::transport::Identity::from_pem(cert.bytes, key.bytes);
        Ok(Self { chain, key: private, pem })
    }

    /// TLS configuration of a server with this identity that speaks `protocols` (names as in ALPN, the preferred one
    /// first). With `trust`, callers must present a certificate as well (mutual TLS).
    pub fn server(self, trust: Option<Trust>, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, String> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match trust {
            None => builder.with_no_client_auth(),
            Some(trust) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(trust.roots.into(), provider());
                builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
            }
        };
        let mut config = builder.with_single_cert(self.chain, self.key).map_err(|error| error.to_string())?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// The trusted certificate authorities.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    /// The same certificates, as gRPC clients take them.
    pem: Vec<u8>,
}

impl Trust {
    /// Reads and checks a file of authorities' certificates.
    pub fn read(path: &Path) -> Result<Self, PemError> {
        let file = File::read("--tls-ca", path)?;
        let mut roots = RootCertStore::empty();
        for certificate in file.certificates()? {
            roots.add(certificate).map_err(|error| file.unusable(error))?;
        }
        Ok(Self { roots, pem: file.bytes })
    }

    /// TLS configuration of a client that trusts these authorities and presents `identity`. With `server_name`,
    /// servers' certificates must bear that name instead of the host in the address.
    pub fn client(self, identity: Option<Identity>, server_name: Option<String>) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem));
        if let Some(identity) = identity {
            config = config.identity(identity.pem);
        }
        match server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }

    /// TLS configuration of a client of HTTPS that trusts these authorities and presents no certificate.
    pub fn https(self) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(self.roots).with_no_client_auth())
    }
}

/// Whether `name` is a name that a certificate can bear.
pub fn is_server_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

/// The cryptography provider. It is chosen explicitly, so that another library's choice of the process default does not
/// matter.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
