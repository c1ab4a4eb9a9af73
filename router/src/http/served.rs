//! An answer's body on its way to the client, in small pieces, each of which holds the request's visit until it has
//! arrived.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes, HttpBody};
use bytes::Buf;
use hyper::body::{Frame, SizeHint};

use super::{
    stall::{Clock, UnderWay},
    visit::Visit,
};

/// Largest piece: arrivals tell a slow client from one that takes nothing.
const PIECE_BYTES: usize = 16 * 1024;

/// The body of an answer.
pub struct Served {
    body: Body,
    /// What was read of `body` and has not been handed on.
    rest: Bytes,
    /// Whether `body` has ended.
    is_over: bool,
    has_sent: bool,
    visit: Visit,
    clock: Clock,
}

/// A piece of an answer; it is dropped when it has arrived.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    _under_way: UnderWay,
    _visit: Visit,
}

impl Served {
    /// The body of the answer to the request of `visit`.
    pub fn new(body: Body, visit: Visit) -> Self {
        let clock = Clock::of_task();
        Self { body, rest: Bytes::new(), is_over: false, has_sent: false, visit, clock }
    }

    fn piece(&mut self) -> Frame<Piece> {
        self.has_sent = true;
        let bytes = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        Frame::data(Piece { bytes, _under_way: self.clock.depart(), _visit: self.visit.clone() })
    }

    /// Whether the body's end waits until all pieces have arrived. Over HTTP/2 a stream that has ended can no longer be
    /// reset, so that a client that takes nothing could keep the last piece for as long as its connection.
    fn ends_late(&self) -> bool {
        self.has_sent && self.visit.is_multiplexed()
    }
}

impl HttpBody for Served {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(Some(Ok(self.piece())));
            }
            if self.is_over {
                return if self.ends_late() {
                    self.clock.poll_arrived(context).map(|()| None)
                } else {
                    Poll::Ready(None)
                };
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?.map(Frame::into_data) {
                None => self.is_over = true,
                Some(Ok(data)) => self.rest = data,
                // No answer has trailers.
                Some(Err(_)) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.ends_late() && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use axum::http::Version;
    use futures::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        admission::{Bounds, Permits},
        http::{connections::Connections, visit::Visits},
    };

    const ONE: Bounds = Bounds { total: 1, peer: 1 };

    fn served(bytes: usize, version: Version) -> Served {
        let seat = Connections::new(ONE).enter(IpAddr::from(Ipv4Addr::LOCALHOST).into()).unwrap();
        let visit = Visits::new(seat, Permits::new(ONE)).begin(version);
        Served::new(Body::from(vec![b'x'; bytes]), visit)
    }

    async fn piece(body: &mut Served) -> Piece {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test]
    async fn a_body_goes_in_pieces_and_its_length_is_known() {
        let mut body = served(PIECE_BYTES + 10, Version::HTTP_11);
        assert_eq!(body.size_hint().exact(), Some(PIECE_BYTES as u64 + 10));
        let first = piece(&mut body).await;
        assert_eq!((first.remaining(), body.size_hint().exact()), (PIECE_BYTES, Some(10)));
        assert!(!body.is_end_stream());
        assert_eq!(piece(&mut body).await.remaining(), 10);
        assert!(body.is_end_stream() && body.frame().await.is_none(), "whether or not the first has arrived");
        drop(first);
    }

    #[tokio::test]
    async fn over_http_2_the_end_waits_for_the_last_arrival() {
        let mut body = served(10, Version::HTTP_2);
        let last = piece(&mut body).await;
        assert!(!body.is_end_stream() && body.frame().now_or_never().is_none());
        drop(last);
        assert!(body.frame().await.is_none());
        assert!(served(0, Version::HTTP_2).is_end_stream(), "nothing needs no end of its own");
    }
}
