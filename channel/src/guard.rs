//! The server's side: what is asked of callers before a node's services hear of them.

use std::{net::SocketAddr, sync::Arc};

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
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming, TlsConnectInfo},
    },
};

use crate::{
    accept,
    link::SECRET_KEY,
    refusals::{Reason, Refusals},
    secret::Secret,
};

/// Free of the secret, so that orchestrators and tools can ask: they tell nothing that a port scan would not.
const FREE: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/"];

/// TLS, the secret, both or neither. The default asks for nothing.
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

    /// Serves `routes` on `listener` behind this guard until `stop`, and then until what runs has ended.
    pub async fn serve(
        self,
        server: Server,
        routes: Routes,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let guarded =
            Guarded { inner: routes.prepare(), secret: self.secret.map(Arc::new), refusals: self.refusals.clone() };
        match self.tls {
            Some(tls) => {
                let incoming = accept::handshakes(listener, tls, self.refusals);
                server.serve_with_incoming_shutdown(guarded, incoming, stop).await
            }
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server.serve_with_incoming_shutdown(guarded, incoming, stop).await
            }
        }
    }
}

/// Services behind the check of the secret.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    secret: Option<Arc<Secret>>,
    refusals: Refusals,
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
        self.refusals.count(peer(request.extensions()), reason, "");
        Err(ServiceError::new(ErrorCode::UntrustedCaller, "the nodes of this cluster do not share one secret"))
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.admits(&request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refused) => Either::Right(ready(Ok(Status::from(refused).into_http()))),
        }
    }
}

fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>().map(TlsConnectInfo::get_ref);
    tls.or_else(|| extensions.get::<TcpConnectInfo>())?.remote_addr()
}
