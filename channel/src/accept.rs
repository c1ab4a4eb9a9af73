//! Takes connections and does their TLS handshakes, each on its own, so that a slow or silent caller keeps nobody waiting.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::refusals::{Reason, Refusals};

/// A handshake takes two round trips; who needs longer has gone, or never meant to finish.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Handshakes at the same time; further connections wait in the system's queue.
const HANDSHAKES: usize = 256;
/// After a connection could not be accepted, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

type Accepted = io::Result<TlsStream<TcpStream>>;

/// Connections whose handshake succeeded. Stops accepting when the stream is dropped.
pub fn handshakes(listener: TcpListener, tls: Arc<ServerConfig>, refusals: Refusals) -> ReceiverStream<Accepted> {
    let (accepted, connections) = mpsc::channel(1);
    let acceptor = TlsAcceptor::from(tls);
    tokio::spawn(async move {
        let turns = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            // Closed never: the semaphore is ours.
            let Ok(turn) = turns.clone().acquire_owned().await else { return };
            let connection = tokio::select! {
                connection = listener.accept() => connection,
                () = accepted.closed() => return,
            };
            match connection {
                Ok((stream, _)) => {
                    tokio::spawn(shake(acceptor.clone(), stream, accepted.clone(), refusals.clone(), turn));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(connections)
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    accepted: mpsc::Sender<Accepted>,
    refusals: Refusals,
    _turn: OwnedSemaphorePermit,
) {
    let peer = stream.peer_addr().ok();
    // Without it answers only come later; the connection itself says whether it is alive.
    let _ = stream.set_nodelay(true);
    match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        // The receiver is gone when the node stops.
        Ok(Ok(stream)) => drop(accepted.send(Ok(stream)).await),
        Ok(Err(error)) => refusals.count(peer, Reason::Tls, &error.to_string()),
        Err(_) => refusals.count(peer, Reason::Tls, "it did not finish in time"),
    }
}
