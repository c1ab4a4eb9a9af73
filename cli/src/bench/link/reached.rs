//! The rate that a shaper reaches on this machine: bytes are sent from one thread through it to another.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{Rate, bucket::Bucket, shaper::Shaper};

/// Duration of sending, long enough that late wake-ups average out.
const SEND: Duration = Duration::from_millis(500);
/// Least number of bursts to send on slow links, since the first one is free.
const BURSTS: f64 = 4.0;
const PIECE: usize = 256 << 10;
/// Read timeout; a machine on which nothing arrives for this long has a different problem.
const STALLED: Duration = Duration::from_secs(30);

/// Measured rate in Mbit/s through a shaper of the given rate, without its first burst.
pub async fn reached(rate: Rate) -> anyhow::Result<f64> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let shaper = Shaper::start(listener.local_addr()?, rate)?;
    let address = shaper.address();
    let burst = Bucket::new(rate).burst_bytes();
    let time = SEND.max(Duration::from_secs_f64(BURSTS * burst / rate.bytes_s()));
    let bytes_s = tokio::task::spawn_blocking(move || measure(&listener, address, burst, time)).await??;
    Ok(bytes_s * 8.0 / 1e6)
}

fn measure(listener: &TcpListener, address: SocketAddr, burst: f64, time: Duration) -> io::Result<f64> {
    let mut source = TcpStream::connect(address)?;
    let (mut sink, _) = listener.accept()?;
    source.set_write_timeout(Some(STALLED))?;
    sink.set_read_timeout(Some(STALLED))?;
    // Time starts before anything is sent, so that the measured rate is never too high.
    let started = Instant::now();
    let sending = thread::spawn(move || -> io::Result<()> {
        let piece = vec![0; PIECE];
        while started.elapsed() < time {
            source.write_all(&piece)?;
        }
        Ok(())
    });
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match sink.read(&mut buffer)? {
            0 => break,
            count => bytes += count,
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    sending.join().map_err(|_| io::Error::other("the sending thread ended"))??;
    Ok((bytes as f64 - burst).max(0.0) / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::link::Link;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_shaper_never_exceeds_its_rate() {
        let Ok(Link::Shaped(rate)) = "100mbit".parse() else { panic!("a rate") };
        let found = reached(rate).await.unwrap();
        assert!(found > 0.0 && found <= 100.0, "{found}");
    }
}
