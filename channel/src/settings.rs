//! Settings for the protection of connections between programs.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    dial::Channels,
    guard::Guard,
    pem::{self, PemError},
    secret::{Secret, SecretError},
};

/// Settings by which this program and the others of its cluster authenticate each other.
#[derive(Clone, Debug, Default, Args)]
pub struct LinkSecurity {
    /// Certificate of this program, PEM with its chain, presented to callers and to the nodes that it calls; needs
    /// --tls-key
    #[arg(long, value_name = "FILE", env = "SECATEUR_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE", env = "SECATEUR_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Certificates of the trusted authorities, PEM. Nodes are then called over TLS, and a node serves only callers
    /// with a certificate that one of these authorities has signed (mutual TLS)
    #[arg(long, value_name = "FILE", env = "SECATEUR_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Name that the certificate of every called node must bear [default: the host as the router was given it]
    #[arg(long, value_name = "NAME", env = "SECATEUR_TLS_SERVER_NAME")]
    pub tls_server_name: Option<String>,
    /// File with the secret that all programs of the cluster share: 16 to 512 visible ASCII characters, sent with every
    /// call and required of every caller. Only TLS hides it from eavesdroppers on the network
    #[arg(long, value_name = "FILE", env = "SECATEUR_CLUSTER_SECRET_FILE")]
    pub cluster_secret_file: Option<PathBuf>,
    /// The secret itself; set it in the environment rather than as a flag, which every user of the machine can read
    #[arg(long, value_name = "SECRET", env = "SECATEUR_CLUSTER_SECRET", hide_env_values = true)]
    pub cluster_secret: Option<Secret>,
}

/// Reason why connections cannot be protected as configured. The program exits with status 2.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// One of two settings that only work together is missing.
    #[error("{given} was given without {missing}{why}")]
    Half {
        /// The flag that was given.
        given: &'static str,
        /// The flag that is missing.
        missing: &'static str,
        /// Reason why the missing flag is needed, with punctuation in front; may be empty.
        why: &'static str,
    },
    /// A certificate or key is unusable.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The secret is unusable.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The name that certificates must bear is not a valid name.
    #[error("--tls-server-name: {name:?} is neither a host name nor an IP address")]
    ServerName {
        /// The name as given.
        name: String,
    },
    /// The certificate cannot be used for serving.
    #[error("--tls-cert {} cannot be served with --tls-ca as it is: {reason}", path.display())]
    Server {
        /// The certificate's file.
        path: PathBuf,
        /// Reason given by the TLS library.
        reason: String,
    },
}

impl LinkSecurity {
    /// The client side of this protection, for a program that calls nodes. Reads the files.
    pub fn channels(&self) -> Result<Channels, SecurityError> {
        let identity = self.identity()?;
        let tls = match (&self.tls_ca, identity) {
            (None, None) => None,
            (None, Some(_)) => {
                let why = "; this program calls nodes over TLS and would trust none of them";
                return Err(SecurityError::Half { given: "--tls-cert", missing: "--tls-ca", why });
            }
            (Some(ca), identity) => Some(pem::Trust::read(ca)?.client(identity, self.server_name()?)),
        };
        if tls.is_none() && self.tls_server_name.is_some() {
            let why = ": without TLS no certificate is looked at";
            return Err(SecurityError::Half { given: "--tls-server-name", missing: "--tls-ca", why });
        }
        Ok(Channels::new(tls, self.tls_server_name.is_some(), self.secret()?))
    }

    /// The server side of this protection, for a program that is called. Reads the files.
    pub fn guard(&self) -> Result<Guard, SecurityError> {
        let trust = self.tls_ca.as_deref().map(pem::Trust::read).transpose()?;
        let tls = match (self.identity()?, trust) {
            (None, None) => None,
            (None, Some(_)) => {
                let why = "; a node serves over TLS only with a certificate of its own";
                return Err(SecurityError::Half { given: "--tls-ca", missing: "--tls-cert", why });
            }
            (Some(identity), trust) => {
                let path = self.tls_cert.clone().unwrap_or_default();
                let refused = |reason: String| SecurityError::Server { path, reason };
                Some(identity.server(trust, &[pem::ALPN_H2]).map_err(refused)?)
            }
        };
        Ok(Guard::new(tls, self.secret()?))
    }

    fn identity(&self) -> Result<Option<pem::Identity>, SecurityError> {
        let pair = pair([("--tls-cert", self.tls_cert.as_deref()), ("--tls-key", self.tls_key.as_deref())])?;
        let identity = pair.map(|pair| pem::Identity::new(pair.read()?));
        Ok(identity.transpose()?)
    }

    fn server_name(&self) -> Result<Option<String>, SecurityError> {
        let Some(name) = self.tls_server_name.clone() else { return Ok(None) };
        if pem::is_server_name(&name) { Ok(Some(name)) } else { Err(SecurityError::ServerName { name }) }
    }

    fn secret(&self) -> Result<Option<Secret>, SecretError> {
        match (self.cluster_secret_file.as_deref(), &self.cluster_secret) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(SecretError::Twice),
            (Some(path), None) => Secret::read(Path::new(path)).map(Some),
            (None, Some(secret)) => secret.checked("--cluster-secret or SECATEUR_CLUSTER_SECRET").map(Some),
        }
    }
}

/// The certificate and the key, in this order, that two flags give; `None` if neither flag was given.
pub(crate) fn pair(flags: [(&'static str, Option<&Path>); 2]) -> Result<Option<pem::Pair>, SecurityError> {
    let half = |given, missing| Err(SecurityError::Half { given, missing, why: "" });
    match flags {
        [(_, None), (_, None)] => Ok(None),
        [(given, Some(_)), (missing, None)] | [(missing, None), (given, Some(_))] => half(given, missing),
        [(cert_flag, Some(cert)), (key_flag, Some(key))] => {
            Ok(Some(pem::Pair { cert: cert.to_owned(), key: key.to_owned(), cert_flag, key_flag }))
        }
    }
}

#[cfg(test)]
mod tests;
