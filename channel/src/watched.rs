//! A TCP connection that fails when its peer is lost, long before TCP gives up.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use crate::{
    intake::{Caller, Seat},
    vitals::Vitals,
};

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A connection under watch: reading or writing it fails once [`Vitals`] says that the peer is lost. The peer must have
/// something to say at times, as one does that answers HTTP/2 pings.
pub struct Watched {
    stream: TcpStream,
    vitals: Vitals,
    look: Pin<Box<Sleep>>,
    /// When `look` is due.
    due: Instant,
    is_lost: bool,
    /// Of an accepted connection.
    seat: Option<Seat>,
}

impl Watched {
    /// Watches a connection that this process made.
    pub fn dialled(stream: TcpStream) -> Self {
        Self::new(stream, None)
    }

    /// Watches a connection that was accepted and has its seat.
    pub fn accepted(stream: TcpStream, seat: Seat) -> Self {
        Self::new(stream, Some(seat))
    }

    fn new(stream: TcpStream, seat: Option<Seat>) -> Self {
        // Without it answers only come later; the connection itself says whether it is alive.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        let look = Box::pin(sleep(LOOK));
        Self { stream, vitals: Vitals::new(now), look, due: now + LOOK, is_lost: false, seat }
    }

    /// The other end.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Looks whether the peer is alive when it is time to, and sees to it that this task wakes for the next look.
    fn watch(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.is_lost && self.look.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            // A look that comes late by more than another one: this process was stopped, or starved.
            let late = now.saturating_duration_since(self.due);
            if late > LOOK {
                self.vitals.excuse(late);
            }
            self.is_lost = self.vitals.is_lost(unacknowledged(&self.stream), now);
            self.due = now + LOOK;
            self.look.as_mut().reset(self.due.into());
        }
        if self.is_lost {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"));
        }
        Ok(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() {
            if buffer.filled().len() > before {
                self.vitals.read(Instant::now());
            }
            return polled;
        }
        self.watch(context)?;
        Poll::Pending
    }
}

impl Watched {
    fn wrote(&mut self, polled: &Poll<io::Result<usize>>, context: &mut Context<'_>) -> io::Result<()> {
        match polled {
            Poll::Ready(Ok(bytes)) => self.vitals.wrote(*bytes, Instant::now()),
            Poll::Ready(Err(_)) => {}
            // A peer that takes nothing keeps the reading end of this task waiting too.
            Poll::Pending => self.watch(context)?,
        }
        Ok(())
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&polled, context)?;
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(&polled, context)?;
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Watched {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller::new(self.peer(), self.seat.as_ref())
    }
}

/// Bytes that were written and that the other machine has not acknowledged.
#[cfg(target_os = "linux")]
fn unacknowledged(stream: &TcpStream) -> u64 {
    use std::os::fd::AsRawFd as _;
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and SIOCOUTQ (TIOCOUTQ) writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if asked == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 }
}

/// Unknown on this system.
#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> u64 {
    0
}

#[cfg(test)]
mod tests;
