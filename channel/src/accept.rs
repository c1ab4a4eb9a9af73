//! Accepts connections, as many as there are seats, and does their TLS handshakes concurrently, so that a slow or
//! silent caller does not delay others.

use std::{io, sync::Arc, time::Duration};

use futures::stream::{Stream, unfold};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    intake::Budget,
    refusals::{Reason, Refusals},
    watched::Watched,
};

/// Longest TLS handshake: it takes two round trips, so a caller that needs longer is gone or does not mean to finish.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Most concurrent handshakes; further connections wait in the system's queue.
const HANDSHAKES: usize = 256;
/// Pause after a connection could not be accepted, most likely for lack of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

type Accepted = io::Result<TlsStream<Watched>>;

/// Listener that accepts connections and gives each a seat.
pub struct Door {
    listener: TcpListener,
    room: Budget,
    refusals: Refusals,
}

impl Door {
    /// Accepts connections on `listener` as long as `room` has seats.
    pub fn new(listener: TcpListener, room: Budget, refusals: Refusals) -> Self {
        Self { listener, room, refusals }
    }

    /// The next connection that gets a seat. Connections that get none are closed.
    async fn next(&self) -> Watched {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => match self.room.seat() {
                    Some(seat) => return Watched::accepted(stream, seat),
                    None => self.refusals.count(Some(peer), Reason::TooMany, ""),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Stream of accepted connections. Accepting stops when the stream is dropped.
    pub fn connections(self) -> impl Stream<Item = io::Result<Watched>> {
        unfold(self, async |door| Some((Ok(door.next().await), door)))
    }

    /// Stream of connections whose TLS handshake succeeded. Accepting stops when the stream is dropped.
    pub fn handshakes(self, tls: Arc<ServerConfig>) -> ReceiverStream<Accepted> {
        let (accepted, connections) = mpsc::channel(1);
        let acceptor = TlsAcceptor::from(tls);
        tokio::spawn(async move {
            let turns = Arc::new(Semaphore::new(HANDSHAKES));
            loop {
                // Never an error: this semaphore is not closed anywhere.
                let Ok(turn) = turns.clone().acquire_owned().await else { return };
                let stream = tokio::select! {
                    stream = self.next() => stream,
                    () = accepted.closed() => return,
                };
                tokio::spawn(shake(acceptor.clone(), stream, accepted.clone(), self.refusals.clone(), turn));
            }
        });
        ReceiverStream::new(connections)
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: Watched,
    accepted: mpsc::Sender<Accepted>,
    refusals: Refusals,
    _turn: OwnedSemaphorePermit,
) {
    let peer = stream.peer();
    match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        // The receiver is gone when the node stops.
        Ok(Ok(stream)) => drop(accepted.send(Ok(stream)).await),
        Ok(Err(error)) => refusals.count(peer, Reason::Tls, &error.to_string()),
        Err(_) => refusals.count(peer, Reason::Tls, "it did not finish in time"),
    }
}
