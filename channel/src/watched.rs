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

/// Interval at which a connection's peer is checked.
const LOOK: Duration = Duration::from_millis(250);

/// A watched connection: reading and writing fail once [`Vitals`] says that the peer is lost. A live peer must send
/// something now and then, for example answers to HTTP/2 pings.
pub struct Watched {
    stream: TcpStream,
    vitals: Vitals,
    look: Pin<Box<Sleep>>,
    /// Time at which `look` is due.
    due: Instant,
    is_lost: bool,
    /// The seat of an accepted connection; `None` for a dialled one.
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
        // A failure only delays answers, and is ignored: whether the connection is alive shows in its use.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        let look = Box::pin(sleep(LOOK));
        Self { stream, vitals: Vitals::new(now), look, due: now + LOOK, is_lost: false, seat }
    }

    /// Address of the other end.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Checks the peer if a check is due, and schedules this task's wake-up for the next one.
    fn watch(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.is_lost && self.look.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            // If a check is late by more than its interval, this process was stopped or starved.
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
            // The check must run here too: while the write waits, this task may not poll the reading side.
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

/// Written bytes that the peer's machine has not acknowledged; 0 if the system call fails.
#[cfg(target_os = "linux")]
fn unacknowledged(stream: &TcpStream) -> u64 {
    use std::os::fd::AsRawFd as _;
    let mut queued: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and SIOCOUTQ (TIOCOUTQ) writes one int.
    let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut queued) };
    if asked == 0 { u64::try_from(queued).unwrap_or(0) } else { 0 }
}

/// Always 0: this system does not report unacknowledged bytes.
#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> u64 {
    0
}

#[cfg(test)]
mod tests;
