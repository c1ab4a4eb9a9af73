//! A channel that sends the cluster's secret with every call.

use tonic::{
    body::Body,
    codegen::{
        Context, Poll, Service,
        http::{HeaderName, HeaderValue, Request, Response},
    },
    transport::{Channel, channel::ResponseFuture},
};

use crate::secret::Secret;

/// Metadata key under which the secret is sent.
pub(crate) const SECRET_KEY: HeaderName = HeaderName::from_static("secateur-cluster-secret");

/// A connection to one node, for the generated clients. Cheap to clone; reconnects by itself.
#[derive(Clone, Debug)]
pub struct Link {
    channel: Channel,
    secret: Option<HeaderValue>,
}

impl Link {
    pub(crate) fn new(channel: Channel, secret: Option<&Secret>) -> Self {
        Self { channel, secret: secret.and_then(Secret::to_header) }
    }
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(secret) = &self.secret {
            request.headers_mut().insert(SECRET_KEY, secret.clone());
        }
        self.channel.call(request)
    }
}
