//! Tests with bodies that arrive in pieces, late, or never.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    super::{Seat, tests::LIMITS},
    *,
};

/// A body whose chunks the test sends.
struct Chunks(mpsc::UnboundedReceiver<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

struct Call {
    chunks: mpsc::UnboundedSender<Bytes>,
    body: FirstMessage<Chunks>,
}

fn call(room: &Budget, seat: &Seat) -> Call {
    let (chunks, received) = mpsc::unbounded_channel();
    let body = FirstMessage::new(Chunks(received), room.clone(), Caller::new(None, Some(seat)));
    Call { chunks, body }
}

impl Call {
    /// Sends a message's prefix and the first `here` of its bytes.
    fn begin(&self, length: u32, here: usize) {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX_BYTES + here, 7);
        self.chunks.send(bytes.into()).unwrap();
    }

    fn go_on(&self, bytes: usize) {
        self.chunks.send(vec![7; bytes].into()).unwrap();
    }

    /// Length of the next chunk.
    async fn next(&mut self) -> Option<Result<usize, ServiceError>> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap().len()).map_err(ServiceError::from))
    }

    /// Whether no chunk is ready.
    async fn is_quiet(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.next() => false,
            () = tokio::task::yield_now() => true,
        }
    }
}

#[tokio::test]
async fn small_messages_and_whatever_follows_pass() {
    let room = Budget::new(LIMITS);
    let seat = room.seat().unwrap();
    let mut small = call(&room, &seat);
    // The prefix arrives byte by byte.
    for byte in [0, 0, 0, 0, 3] {
        small.chunks.send(Bytes::copy_from_slice(&[byte])).unwrap();
        assert_eq!(small.next().await.unwrap().unwrap(), 1);
    }
    small.go_on(3);
    assert_eq!(small.next().await.unwrap().unwrap(), 3);
    // Later messages are bounded by the service, and may take long.
    sleep(4 * LIMITS.first_message_max).await;
    assert!(small.is_quiet().await);
    small.begin(1 << 30, 1_000);
    assert_eq!(small.next().await.unwrap().unwrap(), 1_005);
    drop(small.chunks);
    assert!(std::future::poll_fn(|context| Pin::new(&mut small.body).poll_frame(context)).await.is_none());
}

#[tokio::test]
async fn a_message_waits_unread_until_there_is_room_for_all_of_it() {
    let room = Budget::new(LIMITS);
    let seat = room.seat().unwrap();
    let (mut first, mut second) = (call(&room, &seat), call(&room, &seat));
    first.begin(200, 4);
    assert_eq!(first.next().await.unwrap().unwrap(), 9);
    second.begin(200, 4);
    second.go_on(196);
    assert!(second.is_quiet().await, "its share has room for 100 more");
    first.go_on(196);
    assert_eq!(first.next().await.unwrap().unwrap(), 196);
    // The first message is complete and has released its room.
    assert_eq!(second.next().await.unwrap().unwrap(), 9);
    assert_eq!(second.next().await.unwrap().unwrap(), 196);
}

#[tokio::test]
async fn who_waits_for_long_or_would_hold_much_is_refused() {
    let room = Budget::new(LIMITS);
    let seat = room.seat().unwrap();
    let mut holder = call(&room, &seat);
    holder.begin(300, 4);
    holder.next().await.unwrap().unwrap();
    let (mut patient, mut greedy) = (call(&room, &seat), call(&room, &seat));
    greedy.begin(300, 200);
    assert_eq!(greedy.next().await.unwrap().unwrap_err().code, ErrorCode::Overloaded);
    patient.begin(300, 4);
    let started = Instant::now();
    assert_eq!(patient.next().await.unwrap().unwrap_err().code, ErrorCode::Overloaded);
    assert!(started.elapsed() >= LIMITS.room_max);
}

#[tokio::test]
async fn a_first_message_that_does_not_come_is_given_up() {
    let room = Budget::new(LIMITS);
    let seat = room.seat().unwrap();
    for begun in [false, true] {
        let mut silent = call(&room, &seat);
        if begun {
            silent.begin(300, 4);
            silent.next().await.unwrap().unwrap();
        }
        let error = timeout(Duration::from_secs(20), silent.next()).await.unwrap().unwrap().unwrap_err();
        assert!(error.code == ErrorCode::Unavailable && error.is_retryable(), "{error}");
        drop(silent);
        assert!(room.try_reserve(&Caller::new(None, Some(&seat)), 300).is_some(), "its room is free");
    }
}
