//! gRPC channels that notice a dead peer. Names are resolved again on every connect, so a node that moved is found.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// A connection attempt that takes longer is a lost packet or a lost machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 pings: a peer that vanished without a word is noticed after at most interval + timeout.
const PING_INTERVAL: Duration = Duration::from_millis(900);
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A node address that is not `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is not a node address; write host:port")]
pub struct AddressError {
    /// As configured.
    pub address: String,
}

/// Checks `host:port`.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let refused = || AddressError { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
    if is_port && is_host { Ok(()) } else { Err(refused()) }
}

/// A channel that connects when it is first used, and again whenever the connection is lost.
pub fn open(address: &str) -> Result<Channel, AddressError> {
    check_address(address)?;
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|_| AddressError { address: address.to_owned() })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
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
