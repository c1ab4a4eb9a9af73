//! A TCP proxy before a decode node. Bytes towards the node pass at the rate, shared by all connections in order of
//! arrival; bytes coming back pass freely. A half-close and a reset are passed on as such.
//!
//! Each direction of a connection has a thread: the runtime's timers count in milliseconds, too coarse for bursts of
//! two, and the measured requests must not wait for the bytes of others.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{net::TcpSocket, task::JoinHandle};

use super::{Rate, bucket::Bucket};

/// Limits on the bytes read and written at once: few system calls at high rates, an even flow at low ones.
const PIECE_MIN: usize = 16 << 10;
const PIECE_MAX: usize = 256 << 10;
/// Up to this rate the receive buffer is small, so that bytes queue at the sender, as before a real link, and not here.
const SHORT_QUEUE_MAX_MBIT_S: f64 = 2_000.0;
const SHORT_QUEUE_BYTES: u32 = 256 << 10;
/// A read that takes longer than this waited for the sender.
const READ_AT_ONCE: Duration = Duration::from_millis(1);
/// A thread that wakes up later than this loses the time that it was late.
const LATE_MAX: Duration = Duration::from_millis(20);
const BACKLOG: u32 = 1_024;

/// A running shaper. Once dropped it accepts no more connections; existing ones live until both their ends close.
pub struct Shaper {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// The rate, shared by all connections.
struct Pace {
    bucket: Mutex<Bucket>,
    started: Instant,
    piece: usize,
}

impl Shaper {
    /// Starts a shaper before `target`, on a free port of the loopback interface.
    pub fn start(target: SocketAddr, rate: Rate) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if rate.mbit_s() <= SHORT_QUEUE_MAX_MBIT_S {
            // Accepted connections inherit the buffer size.
            socket.set_recv_buffer_size(SHORT_QUEUE_BYTES)?;
        }
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let pace = Arc::new(Pace::new(rate));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pace = pace.clone();
                let carried = client.into_std().and_then(|client| {
                    client.set_nonblocking(false)?;
                    thread::Builder::new().name("shaper".to_owned()).spawn(move || carry(client, target, &pace))
                });
                if let Err(error) = carried {
                    tracing::warn!(%error, "the shaper dropped a connection");
                }
            }
        });
        Ok(Self { address, accepting })
    }

    /// The address that the shaper listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let bucket = Bucket::new(rate);
        let piece = (bucket.burst_bytes() as usize / 4).clamp(PIECE_MIN, PIECE_MAX);
        Self { bucket: Mutex::new(bucket), started: Instant::now(), piece }
    }

    /// Waits until `bytes` that were available at `ready` may pass, and returns the moment when they were due.
    fn wait(&self, bytes: usize, ready: Duration) -> Duration {
        let now = self.started.elapsed();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = bucket.take(bytes, ready, now);
        drop(bucket);
        if wait > Duration::ZERO {
            thread::sleep(wait);
        }
        now + wait
    }

    /// The moment since which bytes were available that were read from `began` to `now`, where the bytes before them,
    /// if any, were due at `due`.
    fn ready(due: Option<Duration>, began: Duration, now: Duration) -> Duration {
        let waited = |due: &Duration| now.saturating_sub(began) < READ_AT_ONCE && now.saturating_sub(*due) < LATE_MAX;
        due.filter(waited).unwrap_or(now)
    }
}

/// Forwards both directions of a connection, until both have ended.
fn carry(client: TcpStream, target: SocketAddr, pace: &Pace) {
    let server = match TcpStream::connect(target) {
        Ok(server) => server,
        Err(error) => {
            tracing::warn!(%error, "nobody listens behind the shaper");
            return reset(&client);
        }
    };
    // A sender of small pieces wants them sent at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| pass(&server, &client, PIECE_MAX, |_, _| ()));
        let mut due = None;
        pass(&client, &server, pace.piece, |bytes, reading| {
            let now = pace.started.elapsed();
            due = Some(pace.wait(bytes, Pace::ready(due, now.saturating_sub(reading), now)));
        });
    });
}

/// Forwards one direction until it ends. `wait` is given the number of bytes read, and how long the read took.
fn pass(mut from: &TcpStream, mut to: &TcpStream, piece: usize, mut wait: impl FnMut(usize, Duration)) {
    let mut buffer = vec![0; piece];
    let ended = loop {
        let began = Instant::now();
        match from.read(&mut buffer) {
            Ok(0) => break to.shutdown(Shutdown::Write),
            Ok(count) => {
                wait(count, began.elapsed());
                if let Err(error) = to.write_all(&buffer[..count]) {
                    break Err(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    if ended.is_err() {
        reset(from);
        reset(to);
    }
}

/// Makes the other side see a reset when the connection is closed, and wakes the other direction's thread now.
fn reset(stream: &TcpStream) {
    // This only fails if the connection is already gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::link::Link;
    use std::net::TcpListener;

    /// The two ends of a connection through a shaper: the client's and the target's.
    fn connection(link: &str) -> (Shaper, TcpStream, TcpStream) {
        let Ok(Link::Shaped(rate)) = link.parse() else { panic!("{link} is a rate") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shaper = Shaper::start(listener.local_addr().unwrap(), rate).unwrap();
        let client = TcpStream::connect(shaper.address()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        (shaper, client, server)
    }

    #[test]
    fn who_wakes_up_late_says_since_when_bytes_wait() {
        let ms = Duration::from_millis;
        assert_eq!(Pace::ready(Some(ms(100)), ms(105), ms(105)), ms(100));
        assert_eq!(Pace::ready(None, ms(5), ms(5)), ms(5));
        // The sender had no bytes, or the thread was away for too long.
        assert_eq!(Pace::ready(Some(ms(100)), ms(101), ms(105)), ms(105));
        assert_eq!(Pace::ready(Some(ms(100)), ms(130), ms(130)), ms(130));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn bytes_pass_both_ways_unchanged_and_a_half_close_is_one() {
        let (_shaper, mut client, mut server) = connection("400mbit");
        let sent: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let copy = sent.clone();
        let writing = thread::spawn(move || {
            client.write_all(&copy).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            answer
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == sent);
        server.write_all(&received).unwrap();
        drop(server);
        assert!(writing.join().unwrap() == sent);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_reset_is_one_on_the_other_side_both_ways() {
        for server_resets in [false, true] {
            let (_shaper, client, server) = connection("400mbit");
            let (resetting, mut other) = if server_resets { (server, client) } else { (client, server) };
            SockRef::from(&resetting).set_linger(Some(Duration::ZERO)).unwrap();
            drop(resetting);
            let error = other.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "server_resets: {server_resets}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn with_nobody_behind_it_a_connection_is_reset() {
        let Ok(Link::Shaped(rate)) = "1gbit".parse() else { panic!("a rate") };
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let shaper = Shaper::start(free, rate).unwrap();
        let mut client = TcpStream::connect(shaper.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
