//! Tests with silent and slow peers, over real sockets.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use super::*;
use crate::vitals::SILENCE_MAX;

/// A watched connection and its other end, which no server reads.
async fn pair() -> (Watched, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Watched::dialled(dialled), listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn a_peer_that_takes_everything_and_answers_nothing_is_lost() {
    let (mut watched, peer) = pair().await;
    watched.write_all(b"a ping").await.unwrap();
    let started = Instant::now();
    let error = timeout(Duration::from_secs(20), watched.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(started.elapsed() > SILENCE_MAX, "{:?}", started.elapsed());
    drop(peer);
}

#[tokio::test]
async fn a_peer_whose_buffers_are_full_is_lost_while_something_is_written() {
    let (mut watched, peer) = pair().await;
    let written = timeout(Duration::from_secs(30), watched.write_all(&vec![0; 256 << 20])).await.unwrap();
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(peer);
}

#[tokio::test]
async fn a_peer_that_reads_slowly_is_alive() {
    let (mut watched, mut peer) = pair().await;
    let reading = tokio::spawn(async move {
        let mut taken = 0;
        let mut buffer = vec![0; 256 << 10];
        let started = Instant::now();
        // In total this takes longer than the allowed silence.
        while started.elapsed() < 2 * SILENCE_MAX {
            taken += peer.read(&mut buffer).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        (taken, peer)
    });
    let chunk = vec![0; 64 << 10];
    while !reading.is_finished() {
        // The reader may have ended while this write waits for it.
        match timeout(Duration::from_secs(1), watched.write_all(&chunk)).await {
            Ok(written) => written.unwrap(),
            Err(_) => assert!(reading.is_finished()),
        }
    }
    assert!(reading.await.unwrap().0 > 1 << 20);
}

#[tokio::test]
async fn a_peer_that_owes_nothing_is_left_alone() {
    let (mut watched, mut peer) = pair().await;
    watched.write_all(b"?").await.unwrap();
    peer.write_all(b"!").await.unwrap();
    watched.read_u8().await.unwrap();
    assert!(timeout(2 * SILENCE_MAX, watched.read_u8()).await.is_err(), "it was given up");
}
