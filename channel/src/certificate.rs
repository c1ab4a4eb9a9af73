//! The certificate that a program shows to clients from outside the cluster. Its files are looked at every few seconds,
//! so that a certificate is renewed without a restart.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_rustls::rustls::ServerConfig;

use crate::{
    pem::{Identity, Pair, PairFiles, PemError},
    settings::{SecurityError, pair},
};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(3);

/// Names of protocols as in ALPN, the preferred one first.
pub type Protocols = &'static [&'static [u8]];

/// A certificate and its key, which are in force until their files hold others that can be used.
pub struct Certificate {
    pair: Pair,
    protocols: Protocols,
    /// Bytes of both files at the last look; `None` if they could not be read.
    seen: Option<[Vec<u8>; 2]>,
    in_force: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads and checks the certificate and the key that two flags give, in this order; `None` if neither flag was
    /// given.
    pub fn open(
        flags: [(&'static str, Option<&Path>); 2],
        protocols: Protocols,
    ) -> Result<Option<Self>, SecurityError> {
        let Some(pair) = pair(flags)? else { return Ok(None) };
        let files = pair.read()?;
        let seen = Some(files.bytes());
        let in_force = watch::Sender::new(configuration(&pair, files, protocols)?);
        Ok(Some(Self { pair, protocols, seen, in_force }))
    }

    /// The TLS configuration of a server with the certificate that is in force.
    pub fn configuration(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.in_force.subscribe()
    }

    /// Looks at the files until nobody watches the configuration any more. A pair that cannot be used is logged once,
    /// and the one in force is kept.
    pub async fn renew(mut self) {
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = self.in_force.closed() => return,
            }
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looked.await {
                Ok(certificate) => self = certificate,
                // The runtime is ending.
                Err(_) => return,
            }
        }
    }

    fn look(&mut self) {
        match self.renewed() {
            Ok(None) => {}
            Ok(Some(configuration)) => {
                self.in_force.send_replace(configuration);
                tracing::info!(file = %self.pair.cert.display(), "a new certificate is in force");
            }
            Err(error) => tracing::warn!(%error, "the new certificate cannot be used; the old one stays in force"),
        }
    }

    /// The configuration with the files' new content; `None` if they are as they were at the last look.
    fn renewed(&mut self) -> Result<Option<Arc<ServerConfig>>, PemError> {
        let files = match self.pair.read() {
            Ok(files) => files,
            Err(error) => return if self.seen.take().is_some() { Err(error) } else { Ok(None) },
        };
        let bytes = Some(files.bytes());
        if bytes == self.seen {
            return Ok(None);
        }
        self.seen = bytes;
        configuration(&self.pair, files, self.protocols).map(Some)
    }
}

fn configuration(pair: &Pair, files: PairFiles<'_>, protocols: Protocols) -> Result<Arc<ServerConfig>, PemError> {
    let refused = |reason| PemError::Content { flag: pair.cert_flag, path: pair.cert.clone(), reason };
    Identity::new(files)?.server(None, protocols).map_err(refused)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::pem::ALPN_H2;

    /// Writes a new certificate, with its key, for this name.
    fn write(dir: &TempDir, name: &str) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn open(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<Certificate>, SecurityError> {
        Certificate::open([("--cert", cert), ("--key", key)], &[ALPN_H2])
    }

    #[test]
    fn a_pair_is_renewed_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        write(&dir, "one");
        let mut certificate = open(Some(&cert), Some(&key)).unwrap().unwrap();
        assert!(certificate.renewed().unwrap().is_none(), "nothing has changed");
        let old_key = std::fs::read(&key).unwrap();
        write(&dir, "two");
        let new_key = std::fs::read(&key).unwrap();
        std::fs::write(&key, old_key).unwrap();
        let error = certificate.renewed().err().unwrap().to_string();
        assert!(error.starts_with("--key") && error.contains("--cert"), "{error}");
        assert!(certificate.renewed().unwrap().is_none(), "it is told once");
        std::fs::write(&key, new_key).unwrap();
        assert!(certificate.renewed().unwrap().is_some());
        std::fs::remove_file(&cert).unwrap();
        assert!(certificate.renewed().is_err());
        assert!(certificate.renewed().unwrap().is_none(), "it is told once");
        write(&dir, "three");
        assert!(certificate.renewed().unwrap().is_some());
    }

    #[test]
    fn what_is_missing_at_the_start_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let cert = dir.path().join("cert.pem");
        assert!(open(None, None).unwrap().is_none());
        for (cert, key, missing) in [(Some(cert.as_path()), None, "--key"), (None, Some(cert.as_path()), "--cert")] {
            let error = open(cert, key).err().unwrap().to_string();
            assert!(error.ends_with(&format!("without {missing}")), "{error}");
        }
        let error = open(Some(&cert), Some(&cert)).err().unwrap().to_string();
        assert!(error.starts_with("--cert: cannot read"), "{error}");
    }
}
