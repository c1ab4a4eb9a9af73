//! The accept loop, and how it ends.
//!
//! When shutdown begins the router keeps answering, so that probes see 503 and clients a clear refusal; when the last
//! request is done, connections are closed; after [`DRAIN_MAX`] what still runs is told so, and ends before that.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use secateur_common::shutdown::CancellationToken;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::app::App;

/// Below the 30 seconds that Kubernetes grants.
const DRAIN_MAX: Duration = Duration::from_secs(25);
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// After the last request: time for its last bytes.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Also the longest that an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A header over this gets 431 from the HTTP library.
const HEADER_BYTES_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 4_096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `shutdown`, then drains.
pub async fn run(listener: TcpListener, routes: Router, app: Arc<App>, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let drained = drained(app, shutdown);
    tokio::pin!(drained);
    loop {
        // Over the bound, further connections wait in the system's queue.
        let permit = tokio::select! {
            permit = connections.clone().acquire_owned() => permit,
            () = &mut drained => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut drained => break,
        };
        match stream {
            Ok((stream, _)) => {
                let connection = serve(stream, routes.clone(), graceful.watcher());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will come back.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    if timeout(CLOSE_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open and are cut");
    }
}

async fn serve(stream: TcpStream, routes: Router, watcher: Watcher) {
    // Streams are many small writes.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    if let Err(error) = watcher.watch(connection).await {
        // Mostly clients that left; their requests were dropped with the connection.
        tracing::debug!(%error, "connection ended");
    }
}

/// Resolves when shutdown has begun and nothing is left to do.
async fn drained(app: Arc<App>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    app.drain();
    let empty = async {
        while app.admission.entered() > 0 {
            sleep(DRAIN_POLL).await;
        }
    };
    if timeout(DRAIN_MAX, empty).await.is_err() {
        tracing::warn!(requests = app.admission.entered(), "requests were still running and are cut");
        app.overdue.cancel();
    }
}
