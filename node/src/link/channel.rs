//! A connection to the other node, made as those of shipments are.

use std::time::Duration;

use secateur_proto::{ErrorCode, ServiceError};
use tonic::transport::{Channel, Endpoint};

/// A node that does not take a connection within this is treated as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that vanished without closing its connection is noticed this soon.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The channel to `address` ("host:port"); connects when first used.
pub fn open(address: &str) -> Result<Channel, ServiceError> {
    let refused = || {
        let text = "the address must be host:port, such as decode:7000, with a port of 1 to 65535";
        ServiceError::new(ErrorCode::InvalidRequest, text).with_param("address")
    };
    if !is_host_and_port(address) {
        return Err(refused());
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| refused())?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .connect_lazy())
}

fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_host_and_port() {
        for address in ["127.0.0.1:4000", "decode:4000", "[::1]:4000"] {
            open(address).unwrap();
        }
        for address in ["", ":1", "host", "host:0", "host:x", "http://host:1", "a b:1", "host:1/path", "u@host:1"] {
            assert_eq!(open(address).unwrap_err().param.as_deref(), Some("address"), "{address}");
        }
    }
}
