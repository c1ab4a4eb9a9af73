//! One client connection, from its first byte to its last.

use std::{pin::pin, time::Duration};

use axum::{Router, extract::Request};
use futures::FutureExt;
use hyper::body::Incoming;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use secateur_common::shutdown::CancellationToken;
use tokio::{net::TcpStream, time::Instant};
use tokio_util::either::Either;

use super::{
    connections::Seat,
    protocol::{self, HEADER_TIMEOUT},
    served::Served,
    tls,
    visit::Visits,
    wire::Wire,
};
use crate::admission::Permits;

/// Longest time in which a client that was asked to leave, and has no request under way, does so.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// What all connections share.
#[derive(Clone)]
pub struct Front {
    /// The routes of all requests.
    pub routes: Router,
    /// Permits for requests over HTTP/2.
    pub requests: Permits,
    /// Permits for sockets that linger.
    pub lingering: Permits,
    /// The certificate that clients are shown; `None` in clear text.
    pub tls: Option<tls::Configuration>,
    /// Token that is cancelled when connections close once their requests are answered.
    pub closing: CancellationToken,
}

/// Serves the requests of one connection.
pub async fn serve(front: Front, stream: TcpStream, seat: Seat) {
    // Streams consist of many small writes, which must not be delayed.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "nodelay");
    }
    let end = seat.end().clone();
    tokio::select! {
        () = converse(front, stream, seat) => {}
        () = end.cancelled() => tracing::debug!("a connection that waited for its client makes room for another"),
    }
}

async fn converse(front: Front, stream: TcpStream, seat: Seat) {
    let wire = Wire::new(stream, seat.peer(), front.lingering, seat.end().clone());
    let builder = protocol::builder();
    let (io, builder) = match front.tls {
        None => (Either::Left(wire), builder),
        Some(tls) => {
            let configuration = tls.borrow().clone();
            let stream = tokio::select! {
                stream = tls::accept(wire, configuration) => stream,
                () = front.closing.cancelled() => None,
            };
            let Some(stream) = stream else { return };
            let builder = if tls::is_http2(&stream) { builder.http2_only() } else { builder.http1_only() };
            (Either::Right(stream), builder)
        }
    };
    let visits = Visits::new(seat, front.requests);
    let (routes, visited) = (TowerToHyperService::new(front.routes), visits.clone());
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let visit = visited.begin(request.version());
        request.extensions_mut().insert(visit.clone());
        hyper::service::Service::call(&routes, request).map(|answer| {
            visit.serve();
            answer.map(|answer| answer.map(|body| Served::new(body, visit)))
        })
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let (mut is_leaving, mut from, mut patience) = (false, Instant::now(), HEADER_TIMEOUT);
    loop {
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    // Mostly clients that disconnected; their requests were dropped with the connection.
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = front.closing.cancelled(), if !is_leaving => {}
            () = visits.are_over(from, patience) => if is_leaving { return },
        }
        connection.as_mut().graceful_shutdown();
        (is_leaving, from, patience) = (true, Instant::now(), LEAVE_MAX);
    }
}

#[cfg(test)]
mod tests;
