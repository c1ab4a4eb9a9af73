//! The socket that clients connect to.

use std::io::{Error, ErrorKind};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Most connections that wait to be accepted; the system may have a lower bound. With the usual 128, hundreds of
/// clients that connect at the same moment get resets although there is room for all of them.
const BACKLOG: u32 = 4_096;

/// Listens on `address` (`host:port`): on the first of the host's addresses that can be bound.
pub async fn listen(address: &str) -> Result<TcpListener, Error> {
    let mut failure = Error::new(ErrorKind::InvalidInput, "the host has no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Without this a restarted router could not bind until the system has forgotten its predecessor's connections.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
