//! Probe of what answers at an address: evidence when a call failed for an unknown reason.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// First bytes of an HTTP/2 client: the connection preface and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Size of an HTTP/2 frame's header: length, type, flags and stream.
const FRAME_HEAD_BYTES: usize = 9;
const SETTINGS: u8 = 4;
/// First bytes of a TLS alert (21) in a record of version 3.x, with which a TLS server answers bytes that are no
/// handshake.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Kind of service at an address, judged by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// HTTP/2 in plain text, the protocol of nodes without TLS.
    Http2,
    /// A TLS server.
    Tls,
    /// Bytes that are neither HTTP/2 nor TLS.
    Other,
    /// The connection was accepted, and no byte came.
    Silence,
    /// The connection was closed without a byte.
    Closed,
    /// No connection could be made.
    Unreachable,
}

/// Connects to `address` (`host:port`), begins HTTP/2 in plain text and classifies the answer. Waits at most `patience`
/// for the connection and as long again for the bytes.
pub async fn greet(address: &str, patience: Duration) -> Greeting {
    let Ok(Ok(mut stream)) = timeout(patience, TcpStream::connect(address)).await else {
        return Greeting::Unreachable;
    };
    match timeout(patience, first_bytes(&mut stream)).await {
        Ok(bytes) => greeting(&bytes),
        Err(_) => Greeting::Silence,
    }
}

/// Reads up to one frame's header; fewer bytes if the other side closes before.
async fn first_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_HEAD_BYTES);
    // A failed write is ignored: a peer that closes at once may still have sent bytes to read.
    let _ = stream.write_all(PREFACE).await;
    while bytes.len() < FRAME_HEAD_BYTES && !bytes.starts_with(&TLS_ALERT) {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    bytes
}

fn greeting(bytes: &[u8]) -> Greeting {
    match bytes {
        [] => Greeting::Closed,
        _ if bytes.starts_with(&TLS_ALERT) => Greeting::Tls,
        // The first frame of HTTP/2 is SETTINGS, on stream 0.
        [_, _, _, SETTINGS, _, 0, 0, 0, 0, ..] => Greeting::Http2,
        _ => Greeting::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// The classification of a server that sends `answer`; with `None` it sends nothing and keeps the connection open.
    async fn greeted(answer: Option<&'static [u8]>) -> Greeting {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut preface = [0; PREFACE.len()];
            stream.read_exact(&mut preface).await.unwrap();
            match answer {
                Some(bytes) => stream.write_all(bytes).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let greeting = greet(&address, PATIENCE).await;
        serving.abort();
        greeting
    }

    #[tokio::test]
    async fn the_first_bytes_tell_who_answers() {
        assert_eq!(greeted(Some(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0")).await, Greeting::Http2);
        assert_eq!(greeted(Some(b"\x15\x03\x03\0\x02\x02\x32")).await, Greeting::Tls);
        assert_eq!(greeted(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await, Greeting::Other);
        assert_eq!(greeted(Some(b"")).await, Greeting::Closed);
        assert_eq!(greeted(None).await, Greeting::Silence);
        assert_eq!(greet("127.0.0.1:1", PATIENCE).await, Greeting::Unreachable);
    }
}
