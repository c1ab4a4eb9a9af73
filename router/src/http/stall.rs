//! Ends the sending of answers of which the client takes nothing.
//!
//! An answer is handed to the HTTP library in pieces. A piece is under way until the system's socket has taken it, or,
//! over HTTP/2, until the client's window has let it through. A task that sends answers (an HTTP/1.1 connection or an
//! HTTP/2 stream) has a clock, and is dropped when pieces are under way and none has arrived for [`STALL_MAX`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Longest time in which a client takes nothing of what is under way to it.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Time between two looks at a clock.
const LOOK: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// The clock of the task that runs. The HTTP library stands between the task and its answer, so that the clock cannot
    /// be handed down.
    static CLOCK: Clock;
}

/// The pieces that one task has under way.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Pieces>>);

#[derive(Debug)]
struct Pieces {
    under_way: usize,
    /// Time of the last arrival, or, if nothing was under way, of the last departure.
    since: Instant,
    /// Waker of the task that waits until nothing is under way.
    waker: Option<Waker>,
}

/// Mark of a piece that is under way until this is dropped.
#[derive(Debug)]
pub struct UnderWay(Clock);

/// Runs a task that sends answers; `None` if it was dropped because its client takes nothing.
pub async fn watched<T>(task: impl Future<Output = T>) -> Option<T> {
    let clock = Clock::new();
    tokio::select! {
        output = CLOCK.scope(clock.clone(), task) => Some(output),
        () = clock.stalls() => {
            tracing::debug!(seconds = STALL_MAX.as_secs(), "a client takes nothing of its answer and is cut");
            None
        }
    }
}

impl Clock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Pieces { under_way: 0, since: Instant::now(), waker: None })))
    }

    /// The clock of the task that runs; a new one if the task is not watched.
    pub fn of_task() -> Self {
        CLOCK.try_with(Clock::clone).unwrap_or_else(|_| Self::new())
    }

    /// Marks a piece as under way.
    pub fn depart(&self) -> UnderWay {
        self.lock().depart(Instant::now());
        UnderWay(self.clone())
    }

    /// Resolves when nothing is under way.
    pub fn poll_arrived(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut pieces = self.lock();
        if pieces.under_way == 0 {
            return Poll::Ready(());
        }
        pieces.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Resolves when the client has taken nothing for too long.
    async fn stalls(&self) {
        loop {
            sleep(LOOK).await;
            if self.lock().are_stalled(Instant::now()) {
                return;
            }
        }
    }

    /// Locks the counts even if another holder panicked: each update leaves them right.
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pieces {
    fn depart(&mut self, now: Instant) {
        if self.under_way == 0 {
            self.since = now;
        }
        self.under_way += 1;
    }

    /// Records an arrival. Returns whom to wake.
    fn arrive(&mut self, now: Instant) -> Option<Waker> {
        self.under_way = self.under_way.saturating_sub(1);
        self.since = now;
        if self.under_way == 0 { self.waker.take() } else { None }
    }

    fn are_stalled(&self, now: Instant) -> bool {
        self.under_way > 0 && now.saturating_duration_since(self.since) >= STALL_MAX
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let waker = self.0.lock().arrive(Instant::now());
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_takes_nothing_stalls() {
        let begun = Instant::now();
        let mut pieces = Pieces { under_way: 0, since: begun, waker: None };
        assert!(!pieces.are_stalled(begun + 2 * STALL_MAX), "nothing is under way");
        let departed = begun + 2 * STALL_MAX;
        pieces.depart(departed);
        pieces.depart(departed + STALL_MAX / 2);
        assert!(!pieces.are_stalled(departed + STALL_MAX / 2));
        assert!(pieces.are_stalled(departed + STALL_MAX), "a later departure is no arrival");
        pieces.arrive(departed + STALL_MAX);
        assert!(!pieces.are_stalled(departed + STALL_MAX));
        assert!(pieces.are_stalled(departed + 2 * STALL_MAX));
        pieces.arrive(departed + 2 * STALL_MAX);
        assert!(!pieces.are_stalled(departed + 9 * STALL_MAX));
    }

    #[tokio::test]
    async fn a_task_has_one_clock_and_hears_of_the_last_arrival() {
        let sent = watched(async {
            let (first, second) = (Clock::of_task().depart(), Clock::of_task().depart());
            let clock = Clock::of_task();
            let arrived = std::future::poll_fn(|context| clock.poll_arrived(context));
            let arrivals = async {
                drop(first);
                tokio::task::yield_now().await;
                assert_eq!(clock.lock().under_way, 1);
                drop(second);
            };
            tokio::join!(arrived, arrivals);
            clock.lock().under_way
        });
        assert_eq!(sent.await, Some(0));
    }
}
