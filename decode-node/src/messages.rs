//! The messages of a `Ship` call, decoded from the transport's own buffers: a payload that arrived in one piece is not
//! copied, while tonic's decoder would copy every payload into a buffer first.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt;
use prost::Message;
use secateur_proto::v1::ShipFrame;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http::Request},
    server::NamedService,
};

/// Length of gRPC's message prefix: one byte of flags, four of length.
const PREFIX_BYTES: usize = 5;

/// Size below which adjacent chunks are merged.
const SMALL_BYTES: usize = 4 << 10;

/// A request's body before it is read, handed on as an extension of the request.
#[derive(Clone)]
struct Unread(Arc<Mutex<Option<Body>>>);

/// A service wrapper that moves the request's body into an extension, unread; the wrapped service sees an empty stream
/// of messages and reads the body with [`Messages`].
#[derive(Clone)]
pub struct Unreading<S>(pub S);

impl<S: NamedService> NamedService for Unreading<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Unreading<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let body = std::mem::take(request.body_mut());
        request.extensions_mut().insert(Unread(Arc::new(Mutex::new(Some(body)))));
        self.0.call(request)
    }
}

/// The messages of one call.
pub struct Messages {
    body: Body,
    chunks: Chunks,
    /// Largest allowed message, in bytes.
    limit: usize,
}

impl Messages {
    /// The messages of a request that came through [`Unreading`], of at most `limit` bytes each.
    pub fn of<T>(request: &mut tonic::Request<T>, limit: usize) -> Result<Self, Status> {
        let unread = request.extensions_mut().remove::<Unread>();
        let body = unread.and_then(|Unread(body)| body.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take());
        let body = body.ok_or_else(|| Status::internal("the call's body was read already"))?;
        Ok(Self { body, chunks: Chunks::default(), limit })
    }

    /// Sets the largest allowed size of the messages that follow, in bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next message; `None` if the caller has ended the call or is gone.
    pub async fn next(&mut self) -> Result<Option<ShipFrame>, Status> {
        loop {
            if let Some(message) = self.chunks.message(self.limit)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                // Trailers of a request are ignored.
                Some(Ok(frame)) => self.chunks.extend(frame.into_data().ok()),
                Some(Err(status)) if status.code() == Code::Cancelled => return Ok(None),
                Some(Err(status)) => return Err(status),
                None if self.chunks.has_remaining() => return Err(Status::internal("the call ended within a message")),
                None => return Ok(None),
            }
        }
    }
}

/// Received chunks that are not decoded into messages yet.
#[derive(Default)]
struct Chunks {
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Chunks {
    fn extend(&mut self, chunk: Option<Bytes>) {
        let Some(chunk) = chunk.filter(|chunk| !chunk.is_empty()) else { return };
        self.bytes += chunk.len();
        // Each chunk keeps the transport buffer alive that it lies in: small ones are merged into a copy, so that a
        // caller that sends byte by byte does not pin many buffers.
        let is_small = |chunk: &Bytes| chunk.len() < SMALL_BYTES;
        match self.waiting.back_mut().filter(|last| is_small(last) && is_small(&chunk)) {
            Some(last) => *last = [&last[..], &chunk[..]].concat().into(),
            None => self.waiting.push_back(chunk),
        }
    }

    /// The first message, if all of it has arrived.
    fn message(&mut self, limit: usize) -> Result<Option<ShipFrame>, Status> {
        let Some((is_packed, length)) = self.prefix() else { return Ok(None) };
        if is_packed != 0 {
            return Err(Status::unimplemented("a message is compressed, which was not agreed"));
        }
        if length > limit {
            return Err(Status::out_of_range(format!("a message has {length} bytes; the limit is {limit}")));
        }
        if self.bytes < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.advance(PREFIX_BYTES);
        let message = ShipFrame::decode(self.take(length)).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(message))
    }

    /// Compression flag and length of the first message, if its prefix has arrived.
    fn prefix(&self) -> Option<(u8, usize)> {
        let mut bytes = self.waiting.iter().flatten().copied();
        let mut prefix = [0; PREFIX_BYTES];
        for byte in &mut prefix {
            *byte = bytes.next()?;
        }
        let [flag, length @ ..] = prefix;
        Some((flag, u32::from_be_bytes(length) as usize))
    }
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.waiting.front().map_or(&[], |chunk| chunk)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "more than there is");
        self.bytes -= count;
        while let Some(first) = self.waiting.front_mut() {
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.waiting.pop_front();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        if let Some(first) = self.waiting.front_mut().filter(|first| first.len() > count) {
            self.bytes -= count;
            return first.split_to(count);
        }
        if self.waiting.front().is_some_and(|first| first.len() == count) {
            self.bytes -= count;
            return self.waiting.pop_front().unwrap_or_default();
        }
        let mut gathered = BytesMut::with_capacity(count);
        gathered.put((&mut *self).take(count));
        gathered.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secateur_proto::v1::{KvFrame, Run, ship_frame::Frame};
    use secateur_transfer::frame;

    const LIMIT: usize = 1 << 20;

    fn message(sequence: u64, payload: usize) -> ShipFrame {
        let payload = vec![sequence as u8; payload].into();
        let runs = vec![Run { layer: 3, first_part: 1, parts: 2 }];
        ShipFrame { frame: Some(Frame::Kv(KvFrame { sequence, runs, payload, digest: vec![9; 32].into() })) }
    }

    fn encoded(messages: &[ShipFrame]) -> Bytes {
        messages.iter().cloned().flat_map(frame::chunks).collect::<Vec<Bytes>>().concat().into()
    }

    fn read(chunks: &mut Chunks) -> Vec<ShipFrame> {
        std::iter::from_fn(|| chunks.message(LIMIT).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_they_are_cut(
            payloads in prop::collection::vec(0usize..20_000, 1..6),
            cuts in prop::collection::vec(1usize..9_000, 1..40),
        ) {
            let sent: Vec<ShipFrame> = payloads.iter().enumerate().map(|(at, len)| message(at as u64, *len)).collect();
            let mut bytes = encoded(&sent);
            let (mut chunks, mut found) = (Chunks::default(), Vec::new());
            for cut in cuts.iter().cycle() {
                if bytes.is_empty() {
                    break;
                }
                chunks.extend(Some(bytes.split_to((*cut).min(bytes.len()))));
                found.extend(read(&mut chunks));
            }
            prop_assert_eq!(found, sent);
            prop_assert_eq!((chunks.bytes, chunks.waiting.len()), (0, 0));
        }

        #[test]
        fn strange_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut chunks = Chunks::default();
            chunks.extend(Some(bytes.into()));
            while let Ok(Some(_)) = chunks.message(LIMIT) {}
        }
    }

    #[test]
    fn a_payload_in_one_piece_is_not_copied() {
        let [header, payload] = frame::chunks(message(1, 100_000));
        let at = payload.as_ptr();
        let mut chunks = Chunks::default();
        chunks.extend(Some(header));
        chunks.extend(Some(payload));
        let Some(Frame::Kv(kv)) = chunks.message(LIMIT).unwrap().unwrap().frame else { panic!("another message") };
        assert_eq!(kv.payload.as_ptr(), at);
    }

    #[test]
    fn byte_by_byte_is_put_together() {
        let mut chunks = Chunks::default();
        let bytes = encoded(&[message(1, 100_000)]);
        (0..50_000).for_each(|at| chunks.extend(Some(bytes.slice(at..=at))));
        assert!(chunks.waiting.len() < 20, "{}", chunks.waiting.len());
    }

    #[test]
    fn what_is_too_long_or_compressed_is_refused() {
        for (prefix, code) in [([0, 0, 16, 0, 1], Code::OutOfRange), ([1, 0, 0, 0, 1], Code::Unimplemented)] {
            let mut chunks = Chunks::default();
            chunks.extend(Some(Bytes::copy_from_slice(&prefix)));
            assert_eq!(chunks.message(LIMIT).unwrap_err().code(), code);
        }
    }
}
