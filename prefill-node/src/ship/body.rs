//! Request body of a `Ship` call that hands payloads to the transport without a copy: tonic's own encoder would copy
//! each payload behind its header.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use secateur_channel::Link;
use secateur_proto::v1::ShipFrame;
use secateur_transfer::frame;
use tokio::sync::mpsc;
use tonic::{
    body::Body,
    codegen::{Service, http::Request},
};

/// A link whose first call sends the body given to [`WithBody::new`] in place of the generated client's.
pub struct WithBody {
    link: Link,
    body: Body,
}

impl WithBody {
    /// Wraps `link` for a call that streams `messages` and ends when they end.
    pub fn new(link: Link, messages: mpsc::Receiver<ShipFrame>) -> Self {
        Self { link, body: Body::new(Chunks { messages, begun: VecDeque::new() }) }
    }
}

impl Service<Request<Body>> for WithBody {
    type Response = <Link as Service<Request<Body>>>::Response;
    type Error = <Link as Service<Request<Body>>>::Error;
    type Future = <Link as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.link.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        *request.body_mut() = std::mem::take(&mut self.body);
        self.link.call(request)
    }
}

/// The request body: messages, encoded chunk by chunk.
struct Chunks {
    messages: mpsc::Receiver<ShipFrame>,
    /// Chunks of the current message that are not sent yet.
    begun: VecDeque<Bytes>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(chunk) = self.begun.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            let Some(message) = ready!(self.messages.poll_recv(context)) else { return Poll::Ready(None) };
            self.begun = frame::chunks(message).into_iter().filter(|chunk| !chunk.is_empty()).collect();
        }
    }
}
