//! A call's body whose first message must be small or have room, and must arrive in time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::{Budget, Caller, Permit, pace};

/// Length of gRPC's message prefix: one byte of flags, four of length.
const PREFIX_BYTES: usize = 5;

/// A body that is under the limits of [`Budget`] until its first message is complete.
///
/// ```text
/// Prefix ──▶ Message ──▶ Passed      the message needs no room, or gets it at once
///    └─────▶ Waiting ──▶ Message     the body is not read while it waits
/// ```
pub(crate) struct FirstMessage<B> {
    body: B,
    room: Budget,
    caller: Caller,
    state: State,
    /// Start of receiving, shifted by the time that was spent waiting for room.
    started: Instant,
    received: u64,
    clock: Pin<Box<Sleep>>,
}

enum State {
    /// The message's length is not known yet.
    Prefix(Prefix),
    /// The message waits for room; `chunk` arrived with the prefix and is held back.
    Waiting { chunk: Option<Bytes>, left: u64, turn: PermitFuture, since: Instant },
    /// The message is being received; `left` bytes are missing.
    Message { left: u64, _permit: Option<Permit> },
    /// The first message is complete.
    Passed,
}

type PermitFuture = Pin<Box<dyn Future<Output = Option<Permit>> + Send>>;

/// The received part of a message's prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    bytes: [u8; PREFIX_BYTES],
    count: usize,
}

impl Prefix {
    /// Reads the prefix from a chunk. Once the prefix is complete, returns the message's length and how many of its
    /// bytes are in the chunk.
    fn read(&mut self, chunk: &[u8]) -> Option<(u64, u64)> {
        let taken = chunk.len().min(PREFIX_BYTES - self.count);
        self.bytes[self.count..][..taken].copy_from_slice(&chunk[..taken]);
        self.count += taken;
        if self.count < PREFIX_BYTES {
            return None;
        }
        let [_, length @ ..] = self.bytes;
        Some((u32::from_be_bytes(length).into(), (chunk.len() - taken) as u64))
    }
}

impl<B> FirstMessage<B> {
    pub(crate) fn new(body: B, room: Budget, caller: Caller) -> Self {
        let (state, started) = (State::Prefix(Prefix::default()), Instant::now());
        let clock = Box::pin(sleep(room.limits.first_message_max));
        Self { body, room, caller, state, started, received: 0, clock }
    }

    /// Accounts for a chunk; returns it for the service, or `None` if it has to wait.
    fn take(&mut self, chunk: Bytes) -> Result<Option<Bytes>, Status> {
        self.received += chunk.len() as u64;
        match &mut self.state {
            State::Prefix(prefix) => {
                let Some((length, here)) = prefix.read(&chunk) else { return Ok(Some(chunk)) };
                return self.begin(chunk, length, here);
            }
            State::Message { left, .. } => {
                *left = left.saturating_sub(chunk.len() as u64);
                if *left == 0 {
                    self.state = State::Passed;
                }
            }
            State::Waiting { .. } | State::Passed => {}
        }
        Ok(Some(chunk))
    }

    /// Begins a message of known `length`, of which `here` bytes arrived with `chunk`: it passes, gets room, or waits.
    fn begin(&mut self, chunk: Bytes, length: u64, here: u64) -> Result<Option<Bytes>, Status> {
        let left = length.saturating_sub(here);
        if left == 0 {
            self.state = State::Passed;
            return Ok(Some(chunk));
        }
        let (bytes, free) = (usize::try_from(length).unwrap_or(usize::MAX), self.room.limits.free);
        let permit = if bytes > free { self.room.try_reserve(&self.caller, bytes) } else { None };
        if permit.is_some() || bytes <= free {
            self.state = State::Message { left, _permit: permit };
            return Ok(Some(chunk));
        }
        // Many messages may wait, so each of them must hold little.
        if chunk.len() > free {
            return Err(full());
        }
        let turn = Box::pin(self.room.clone().reserve(self.caller.clone(), bytes));
        self.state = State::Waiting { chunk: Some(chunk), left, turn, since: Instant::now() };
        self.clock.as_mut().reset(Instant::now() + self.room.limits.room_max);
        Ok(None)
    }

    /// Waits for room, then returns the chunk that was held back.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        let State::Waiting { chunk, left, turn, since } = &mut self.state else { return Poll::Ready(Ok(None)) };
        let Poll::Ready(permit) = turn.as_mut().poll(context) else {
            ready!(self.clock.as_mut().poll(context));
            return Poll::Ready(Err(full()));
        };
        let (chunk, left) = (chunk.take(), *left);
        self.started += since.elapsed();
        self.state = State::Message { left, _permit: permit };
        self.set_clock();
        Poll::Ready(Ok(chunk))
    }

    /// Resolves with an error once the message takes longer than allowed.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        while self.clock.as_mut().poll(context).is_ready() {
            if self.started.elapsed() >= self.allowed() {
                let text = "a call's first message did not come in time";
                return Poll::Ready(ServiceError::new(ErrorCode::Unavailable, text).into());
            }
            self.set_clock();
        }
        Poll::Pending
    }

    fn allowed(&self) -> Duration {
        pace::allowed(self.room.limits.first_message_max, self.received)
    }

    fn set_clock(&mut self) {
        let due = self.started + self.allowed();
        self.clock.as_mut().reset(due);
    }
}

impl<B> Body for FirstMessage<B>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if matches!(self.state, State::Passed) {
                return Pin::new(&mut self.body).poll_frame(context);
            }
            if matches!(self.state, State::Waiting { .. }) {
                match ready!(self.poll_room(context)) {
                    Ok(Some(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
                    Ok(None) => continue,
                    Err(status) => return Poll::Ready(Some(Err(status))),
                }
            }
            let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(context) else {
                let late = ready!(self.poll_late(context));
                return Poll::Ready(Some(Err(late)));
            };
            let Some(Ok(frame)) = polled else {
                self.state = State::Passed;
                return Poll::Ready(polled);
            };
            let chunk = match frame.into_data() {
                Ok(chunk) => chunk,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            match self.take(chunk) {
                Ok(Some(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
                Ok(None) => {}
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.state, State::Waiting { .. }) && self.body.is_end_stream()
    }
}

fn full() -> Status {
    let text = "the node receives as many large requests as it has room for; try again shortly";
    ServiceError::new(ErrorCode::Overloaded, text).into()
}

#[cfg(test)]
mod tests;
