//! The unread rest of a request's body, which a handler leaves when it refuses without reading.
//!
//! If a connection is closed with unread bytes, the client gets a reset and may lose the answer. So if the rest of the
//! body is small and arrives soon, it is read and the connection stays open. Otherwise the answer announces that the
//! connection closes, and [`super::wire`] keeps reading for a while after closing. Over HTTP/2 the answer is sent whole
//! in any case, the client is then asked to send no more on that stream, and the connection stays open.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::visit::Visit;

/// Largest rest that is read: a larger one costs more than a new connection.
const BYTES_MAX: u64 = 256 * 1024;
/// Longest time for reading the rest, since the answer waits for it.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Shared slot into which a body is put when its handler drops it.
#[derive(Clone, Debug, Default)]
struct Rest(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
struct Left {
    /// The unread body.
    body: Option<Body>,
    /// Whether reading has begun; that is when the HTTP library sends `100 Continue`.
    is_begun: bool,
}

/// A request's body that moves to [`Rest`] on drop.
struct Watched {
    body: Option<Body>,
    rest: Rest,
    visit: Option<Visit>,
}

/// Runs the handler, and then reads the unread rest or closes the connection, so that the answer reaches the client.
pub async fn settle(request: Request, next: Next) -> Response {
    let visit = request.extensions().get::<Visit>().cloned();
    let asks_first = request.headers().contains_key(header::EXPECT);
    let may_announce = request.version() < Version::HTTP_2;
    let rest = Rest::default();
    let watched = |body| Body::new(Watched::new(body, rest.clone(), visit));
    let mut response = next.run(request.map(watched)).await;
    let (unread, is_begun) = rest.unread();
    if let Some(body) = unread {
        // The rest is not awaited from a client that waits for `100 Continue`, nor from one that was already too slow.
        let is_waited_for = (is_begun || !asks_first) && response.status() != StatusCode::REQUEST_TIMEOUT;
        if !(is_waited_for && ends_soon(body).await) && may_announce {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Reads and discards `body`; returns whether its end was reached within the bounds.
async fn ends_soon(mut body: Body) -> bool {
    if body.size_hint().lower() > BYTES_MAX {
        return false;
    }
    let until = Instant::now() + TIME_MAX;
    let mut seen = 0;
    while seen <= BYTES_MAX {
        match timeout_at(until, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

impl Rest {
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unread(&self) -> (Option<Body>, bool) {
        let mut left = self.lock();
        (left.body.take(), left.is_begun)
    }
}

impl Watched {
    fn new(body: Body, rest: Rest, visit: Option<Visit>) -> Self {
        let mut watched = Self { body: Some(body), rest, visit };
        if watched.is_end_stream() {
            watched.end();
        }
        watched
    }

    /// Marks the body as finished: all of it was read, or reading failed. From then on the client waits.
    fn end(&mut self) {
        self.body = None;
        if let Some(visit) = self.visit.take() {
            visit.serve();
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        self.rest.lock().is_begun = true;
        let frame = ready!(polled);
        if !matches!(frame, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.rest.lock().body = Some(body);
        }
    }
}
