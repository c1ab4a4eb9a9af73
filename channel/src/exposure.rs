//! Check of the address that a node listens on: without protection only loopback is allowed, and any other address only
//! with `--insecure`.

use std::net::SocketAddr;

use crate::guard::Guard;

/// Error for a listening address that is reachable from other machines although nothing protects it.
#[derive(Debug, thiserror::Error)]
#[error(
    "--listen {address} can be reached from other machines, and nothing protects it; give --tls-cert, --tls-key and \
     --tls-ca (mutual TLS), or --cluster-secret-file (a shared secret), or --insecure if the network itself is trusted"
)]
pub struct ExposedError {
    address: SocketAddr,
}

/// Refuses to listen on `address` unless it is loopback, `guard` has TLS or a secret, or `is_insecure` allows it
/// explicitly.
pub fn check_exposure(address: SocketAddr, guard: &Guard, is_insecure: bool) -> Result<(), ExposedError> {
    // An IPv4 loopback address may be written as an IPv6 one.
    let is_loopback = address.ip().to_canonical().is_loopback();
    if is_loopback || is_insecure || guard.has_tls() || guard.has_secret() {
        Ok(())
    } else {
        Err(ExposedError { address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkSecurity;

    fn check(address: &str, secret: Option<&str>, is_insecure: bool) -> Result<(), ExposedError> {
        let cluster_secret = secret.map(|text| text.parse().unwrap());
        let guard = LinkSecurity { cluster_secret, ..LinkSecurity::default() }.guard().unwrap();
        check_exposure(address.parse().unwrap(), &guard, is_insecure)
    }

    #[test]
    fn only_loopback_needs_nothing() {
        for address in ["127.0.0.1:0", "127.8.9.1:4000", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            check(address, None, false).unwrap();
        }
        for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:4000", "[::ffff:10.0.0.1]:0"] {
            let message = check(address, None, false).unwrap_err().to_string();
            for way_out in ["--tls-cert", "--cluster-secret-file", "--insecure"] {
                assert!(message.contains(way_out), "{message}");
            }
            check(address, None, true).unwrap();
            check(address, Some("0123456789abcdef"), false).unwrap();
        }
    }
}
