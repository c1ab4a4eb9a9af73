//! The accept loop, and how it ends.
//!
//! When shutdown begins the router keeps answering, so that probes see 503 and clients a clear refusal. When the last
//! request is done, connections are closed. Requests that still run after [`DRAIN_MAX`] are first ended with an error.
//!
//! A slow client holds only its connection, and connections are bounded ([`super::connections`]).

use std::{io::ErrorKind, sync::Arc, time::Duration};

use axum::Router;
use secateur_channel::Certificate;
use secateur_common::shutdown::CancellationToken;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    connection::{self, Front},
    connections::Connections,
    stall, tls,
    wire::LINGERING,
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
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` until `shutdown`, then drains. With a certificate, over TLS.
pub async fn run(
    listener: TcpListener,
    routes: Router,
    app: Arc<App>,
    certificate: Option<Certificate>,
    shutdown: CancellationToken,
) {
    let bounds = connection_bounds(app.connections_max);
    let (connections, tasks, closing) = (Connections::new(bounds), TaskTracker::new(), CancellationToken::new());
    let front = Front {
        routes,
        requests: Permits::new(bounds),
        lingering: Permits::new(LINGERING),
        tls: certificate.map(renewed),
        closing: closing.clone(),
    };
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
                tasks.spawn(stall::watched(connection::serve(front.clone(), stream, seat)));
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
    closing.cancel();
    tasks.close();
    if timeout(CLOSE_MAX, tasks.wait()).await.is_err() {
        tracing::warn!("connections were still open and are cut");
    }
}

/// The configuration with the certificate, which is renewed as long as connections use it.
fn renewed(certificate: Certificate) -> tls::Configuration {
    let configuration = certificate.configuration();
    tokio::spawn(certificate.renew());
    configuration
}

/// Bounds on connections, and on requests over HTTP/2: one peer may have half, so that no single peer can keep others
/// out, and HTTP/2 gives it no more requests at once than connections of their own would.
fn connection_bounds(total: usize) -> Bounds {
    Bounds { total, peer: total.div_ceil(2) }
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
