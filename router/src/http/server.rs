//! The accept loop, and how it ends.
//!
//! When shutdown begins the router keeps answering, so that probes see 503 and clients a clear refusal. When the last
//! request is done, connections are closed. Requests that still run after [`DRAIN_MAX`] are first ended with an error.
//!
//! A slow client holds only its connection, and connections are bounded ([`super::connections`]).

use std::{io::ErrorKind, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use secateur_common::shutdown::CancellationToken;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    connections::{Connections, Seat},
    visit::Visit,
    wire::{LINGERING, Wire},
};
use crate::{
    admission::{Bounds, Permits},
    app::App,
};

/// Longest drain; below the 30 seconds that Kubernetes grants.
const DRAIN_MAX: Duration = Duration::from_secs(25);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// Time after the last request for sending its last bytes.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Time from the end of one request to the end of the next request's header. It bounds idle connections, and headers
/// that arrive byte by byte.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request header; the HTTP library answers a larger one with 431.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `shutdown`, then drains.
pub async fn run(listener: TcpListener, routes: Router, app: Arc<App>, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connections = Connections::new(connection_bounds(app.connections_max));
    let lingering = Permits::new(LINGERING);
    let drained = drained(app, shutdown);
    tokio::pin!(drained);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut drained => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(seat) = connections.enter(address.ip().into()) else {
                    tracing::debug!("a connection is refused: all that there may be are being served");
                    continue;
                };
                tokio::spawn(serve(stream, routes.clone(), seat, lingering.clone(), graceful.watcher()));
            }
            // The client closed the connection before it was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                // Most likely the process has no file descriptors left.
                tracing::warn!(%error, "a connection could not be accepted");
                connections.make_room();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    if timeout(CLOSE_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open and are cut");
    }
}

/// Bounds on connections: one peer may have half, so that no single peer can keep others out.
fn connection_bounds(total: usize) -> Bounds {
    Bounds { total, peer: total.div_ceil(2) }
}

async fn serve(stream: TcpStream, routes: Router, seat: Seat, lingering: Permits, watcher: Watcher) {
    // Streams consist of many small writes, which must not be delayed.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let (peer, end) = (seat.peer(), seat.end().clone());
    let wire = Wire::new(stream, peer, lingering, end.clone());
    let (routes, visit) = (TowerToHyperService::new(routes), Visit::new(Arc::new(seat)));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(visit.clone());
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(wire), service);
    tokio::select! {
        outcome = watcher.watch(connection) => if let Err(error) = outcome {
            // Mostly clients that disconnected; their requests were dropped with the connection.
            tracing::debug!(%error, "connection ended");
        },
        () = end.cancelled() => tracing::debug!("a connection that waited for its client makes room for another"),
    }
}

/// Resolves when shutdown has begun and no request is left, or after [`DRAIN_MAX`].
async fn drained(app: Arc<App>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    app.drain();
    let empty = async {
        while app.admission.present() > 0 {
            sleep(DRAIN_POLL).await;
        }
    };
    if timeout(DRAIN_MAX, empty).await.is_err() {
        tracing::warn!(requests = app.admission.present(), "requests were still running and are cut");
        app.overdue.cancel();
    }
}
