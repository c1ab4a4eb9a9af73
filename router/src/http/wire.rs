//! A client's socket that is not closed while the client is still sending.
//!
//! A socket that is closed with unread bytes sends a reset, and the client's system may then discard an answer that has
//! already arrived. So after closing, the socket is read and its bytes discarded for a while (a lingering close). This
//! happens below HTTP, so it covers every answer, including those of the HTTP library itself.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use secateur_common::shutdown::CancellationToken;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};

use crate::admission::{Bounds, Peer, Permit, Permits};

/// Most sockets that linger; beyond that, sockets are closed at once.
pub const LINGERING: Bounds = Bounds { total: 512, peer: 256 };
const LINGER_MAX: Duration = Duration::from_secs(30);
const LINGER_PAUSE_MAX: Duration = Duration::from_secs(3);
const LINGER_BYTES_MAX: usize = 256 * 1024 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// A client's socket with a lingering close.
pub struct Wire {
    /// The socket; `None` once the lingering task has taken it.
    stream: Option<TcpStream>,
    peer: Peer,
    lingering: Permits,
    /// Token that is cancelled when the connection must make room for another.
    end: CancellationToken,
    /// Whether the client has closed its side, or reading failed.
    is_over: bool,
}

impl Wire {
    /// A socket that lingers on drop, if a permit of `lingering` is free and `end` is not cancelled.
    pub fn new(stream: TcpStream, peer: Peer, lingering: Permits, end: CancellationToken) -> Self {
        Self { stream: Some(stream), peer, lingering, end, is_over: false }
    }

    /// Waits for the first byte, and leaves it to be read; `None` at the client's end.
    pub async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let peeked = stream.peek(&mut byte).await?;
        self.is_over |= peeked == 0;
        Ok((peeked > 0).then_some(byte[0]))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Closes the sending side, and reads and discards what the client still sends.
async fn linger(mut stream: TcpStream, _permit: Permit) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let until = Instant::now() + LINGER_MAX;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut seen = 0;
    let read = async {
        while seen < LINGER_BYTES_MAX {
            match timeout(LINGER_PAUSE_MAX, stream.read(&mut buffer)).await {
                Ok(Ok(bytes @ 1..)) => seen += bytes,
                Ok(Ok(0) | Err(_)) | Err(_) => return,
            }
        }
    };
    if timeout_at(until, read).await.is_err() {
        tracing::debug!("a client went on sending after its answer and is cut");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_over || self.end.is_cancelled() {
            return;
        }
        if let (Some(stream), Ok(runtime), Some(permit)) =
            (self.stream.take(), Handle::try_current(), self.lingering.take(self.peer))
        {
            runtime.spawn(linger(stream, permit));
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.stream()?.poll_read(context, buffer);
        self.is_over |= match &polled {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
