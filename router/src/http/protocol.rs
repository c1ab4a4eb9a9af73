//! The versions of HTTP that a connection may speak, and their limits.
//!
//! A connection in clear text speaks HTTP/2 if it begins with that version's preface (prior knowledge), else HTTP/1.1;
//! over TLS both sides agree beforehand (ALPN).

use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::{rt::TokioTimer, server::conn::auto};
use secateur_channel::{ALPN_H2, Protocols};

use super::stall;

/// The protocols as TLS names them.
pub const PROTOCOLS: Protocols = &[ALPN_H2, b"http/1.1"];

/// Time from the end of one request to the end of the next request's header. It bounds idle connections, and headers
/// that arrive byte by byte.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request header; the HTTP library answers a larger one with 431.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// Most streams at once on one HTTP/2 connection. A client delays further requests, or opens another connection.
const STREAMS_MAX: u32 = 128;
/// Most bytes that a client may send on one stream, or on one connection, before the router has read them.
const WINDOW: u32 = 1024 * 1024;
/// Largest frame, the smallest that the protocol allows: larger ones would make other streams wait.
const FRAME_BYTES: u32 = 16 * 1024;
/// Most bytes of one stream that the HTTP library takes ahead of the client.
const AHEAD_MAX: usize = 64 * 1024;
/// Silence after which a client is sent a ping, and time in which it must answer.
const PING_AFTER: Duration = Duration::from_secs(20);

/// Runs each HTTP/2 stream as a task of its own.
#[derive(Clone, Copy, Debug)]
pub struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(stall::watched(stream));
    }
}

/// The builder of connections. Limits on resets, pings and header frames are the HTTP library's own.
pub fn builder() -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(AHEAD_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_AFTER);
    builder
}
