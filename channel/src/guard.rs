//! The server's side of connections: checks of callers before a node's services see their calls.

use std::sync::Arc;

use futures::future::{Either, Ready, ready};
use secateur_proto::{ErrorCode, ServiceError};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tonic::{
    Status,
    body::Body,
    codegen::{
        Context, Poll, Service,
        http::{Extensions, Request, Response},
    },
    service::Routes,
    transport::{Server, server::TlsConnectInfo},
};

use crate::{
    accept::Door,
    intake::{Budget, Caller, FirstMessage, Intake},
    link::SECRET_KEY,
    refusals::{Reason, Refusals},
    secret::Secret,
};

/// Services that need no secret, so that orchestrators and tools can call them: they reveal nothing that a port scan
/// would not.
const FREE: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/"];

/// A node's protection: TLS, the secret, both or neither. The default has neither.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    tls: Option<Arc<ServerConfig>>,
    secret: Option<Secret>,
    refusals: Refusals,
}

impl Guard {
    pub(crate) fn new(tls: Option<Arc<ServerConfig>>, secret: Option<Secret>) -> Self {
        Self { tls, secret, refusals: Refusals::default() }
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether callers must show the secret.
    pub fn has_secret(&self) -> bool {
        self.secret.is_some()
    }

    /// Serves `routes` on `listener` behind this guard and within the limits of `intake`. After `stop` resolves,
    /// running calls are finished, then this returns.
    pub async fn serve(
        self,
        server: Server,
        routes: Routes,
        listener: TcpListener,
        intake: Intake,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let room = Budget::new(intake);
        let server = server
            .max_concurrent_streams(intake.streams)
            .initial_stream_window_size(intake.stream_window)
            .initial_connection_window_size(intake.connection_window);
        let guarded = Guarded {
            inner: routes.prepare(),
            secret: self.secret.map(Arc::new),
            refusals: self.refusals.clone(),
            room: room.clone(),
        };
        let door = Door::new(listener, room, self.refusals);
        match self.tls {
            Some(tls) => server.serve_with_incoming_shutdown(guarded, door.handshakes(tls), stop).await,
            None => server.serve_with_incoming_shutdown(guarded, door.connections(), stop).await,
        }
    }
}

/// Services behind the check of the secret and the limits on first messages.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    secret: Option<Arc<Secret>>,
    refusals: Refusals,
    room: Budget,
}

impl<S> Guarded<S> {
    fn admits<B>(&self, request: &Request<B>) -> Result<(), ServiceError> {
        let Some(secret) = &self.secret else { return Ok(()) };
        if FREE.iter().any(|service| request.uri().path().starts_with(service)) {
            return Ok(());
        }
        let reason = match request.headers().get(SECRET_KEY) {
            Some(shown) if secret.is(shown.as_bytes()) => return Ok(()),
            Some(_) => Reason::WrongSecret,
            None => Reason::NoSecret,
        };
        self.refusals.count(caller(request.extensions()).and_then(|caller| caller.address()), reason, "");
        Err(ServiceError::new(ErrorCode::UntrustedCaller, "the nodes of this cluster do not share one secret"))
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.admits(&request) {
            Ok(()) => {
                let caller = caller(request.extensions()).unwrap_or_else(|| Caller::new(None, None));
                let bounded = |body| Body::new(FirstMessage::new(body, self.room.clone(), caller));
                Either::Left(self.inner.call(request.map(bounded)))
            }
            Err(refused) => Either::Right(ready(Ok(Status::from(refused).into_http()))),
        }
    }
}

/// The caller's connection, from the extensions of a call.
fn caller(extensions: &Extensions) -> Option<Caller> {
    let tls = extensions.get::<TlsConnectInfo<Caller>>().map(TlsConnectInfo::get_ref);
    tls.or_else(|| extensions.get::<Caller>()).cloned()
}
