//! Permits to run at the nodes, handed from one request to the next in the order of [`super::line`].
//!
//! A permit that is given back goes straight to the next request, so a new one cannot take it in between. A request
//! that leaves while its permit is on the way passes the permit on: the permit lies in the request's channel, and
//! whoever drops the channel drops the permit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    line::{Line, Place},
    rank::Rank,
};

/// A bounded number of permits, and the requests that wait for them.
#[derive(Clone, Debug)]
pub struct Turns {
    total: usize,
    /// Locked only while counting; never held while a permit or a channel is dropped.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Permits that nobody has; none while anybody waits.
    free: usize,
    line: Line<oneshot::Sender<Turn>>,
}

/// One permit; given to the next request on drop.
#[derive(Debug)]
pub struct Turn(Option<Turns>);

/// A request in the line, which it leaves on drop.
#[derive(Debug)]
struct Waiting {
    turns: Turns,
    place: Place,
    handed: oneshot::Receiver<Turn>,
}

impl Turns {
    /// A set of `total` permits, none of them taken.
    pub fn new(total: usize) -> Self {
        let line = Line::new(Instant::now());
        Self { total, state: Arc::new(Mutex::new(State { free: total, line })) }
    }

    /// Waits for a permit until `deadline`; `None` if none came by then.
    pub async fn take(&self, rank: Rank, deadline: Instant) -> Option<Turn> {
        let mut waiting = match self.ask(rank, deadline) {
            Ok(turn) => return Some(turn),
            Err(waiting) => waiting,
        };
        // An overdue request's channel is closed without a permit.
        timeout_at(deadline, &mut waiting.handed).await.ok()?.ok()
    }

    /// Number of permits that are taken, or on their way to a request.
    pub fn taken(&self) -> usize {
        self.total - self.lock().free
    }

    /// A free permit, or else a place in the line.
    fn ask(&self, rank: Rank, deadline: Instant) -> Result<Turn, Waiting> {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Turn(Some(self.clone())));
        }
        let (sender, handed) = oneshot::channel();
        let place = state.line.join(rank, Instant::now(), deadline, sender);
        Err(Waiting { turns: self.clone(), place, handed })
    }

    /// Gives a permit that was given back to the next request, or keeps it if nobody waits.
    fn pass_on(&self) {
        while let Some(next) = self.next() {
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // The request has just left. Its permit is not given back again, but goes to the one after it.
                Err(mut turn) => drop(turn.0.take()),
            }
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut state = self.lock();
        let next = state.line.next(Instant::now());
        if next.is_none() {
            state.free += 1;
        }
        next
    }

    /// Locks the state even if another holder panicked: each update leaves it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let sender = self.turns.lock().line.leave(self.place);
        drop(sender);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures::{FutureExt, future::BoxFuture};

    use super::*;
    use crate::request::Class;

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A request that waits, polled once so that it is in the line.
    fn waits(turns: &Turns, rank: Rank) -> BoxFuture<'static, Option<Turn>> {
        let turns = turns.clone();
        let mut waiting = async move { turns.take(rank, late()).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none());
        waiting
    }

    fn in_line(turns: &Turns) -> usize {
        turns.lock().line.len()
    }

    #[tokio::test]
    async fn batch_yields_to_interactive() {
        let turns = Turns::new(1);
        let held = turns.take(Rank::default(), late()).await.unwrap();
        let mut batch = waits(&turns, Rank::new(Class::Batch, Class::Interactive, 0));
        let interactive = waits(&turns, Rank::default());
        drop(held);
        assert!((&mut batch).now_or_never().is_none());
        let first = interactive.await.unwrap();
        assert_eq!((turns.taken(), in_line(&turns)), (1, 1));
        drop(first);
        drop(batch.await.unwrap());
        assert_eq!((turns.taken(), in_line(&turns)), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_with_a_permit_on_the_way_passes_it_on() {
        let turns = Turns::new(1);
        let held = turns.take(Rank::default(), late()).await.unwrap();
        let chosen = waits(&turns, Rank::default());
        let next = waits(&turns, Rank::default());
        drop(held);
        assert_eq!((turns.taken(), in_line(&turns)), (1, 1), "the permit lies in the first one's channel");
        drop(chosen);
        assert_eq!((turns.taken(), in_line(&turns)), (1, 0));
        drop(next.await.unwrap());
        assert_eq!(turns.taken(), 0);
    }

    #[tokio::test]
    async fn who_leaves_the_line_leaves_no_trace() {
        let turns = Turns::new(2);
        let held = [turns.take(Rank::default(), late()).await, turns.take(Rank::default(), late()).await];
        let waiting: Vec<_> = (0..100).map(|_| waits(&turns, Rank::default())).collect();
        assert_eq!(in_line(&turns), 100);
        drop(waiting);
        assert_eq!((turns.taken(), in_line(&turns)), (2, 0));
        let overdue = turns.take(Rank::default(), Instant::now()).await;
        assert!(overdue.is_none() && in_line(&turns) == 0);
        drop(held);
        assert_eq!(turns.taken(), 0);
        assert!(turns.take(Rank::default(), Instant::now()).await.is_some(), "what is free is given at once");
    }

    /// Many requests on several threads, some of which leave: no permit is lost, and none is there twice.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn permits_are_neither_lost_nor_doubled() {
        const PERMITS: usize = 3;
        let turns = Turns::new(PERMITS);
        let held = Arc::new(AtomicUsize::new(0));
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..600usize {
            let (turns, held) = (turns.clone(), held.clone());
            asking.spawn(async move {
                let patience = if number % 3 == 0 { Duration::from_micros(200) } else { Duration::from_secs(60) };
                let Some(_turn) = turns.take(Rank::default(), Instant::now() + patience).await else { return };
                let now = held.fetch_add(1, Ordering::SeqCst);
                assert!(now < PERMITS, "{now} others have a permit");
                tokio::task::yield_now().await;
                held.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while let Some(ended) = asking.join_next().await {
            ended.unwrap();
        }
        assert_eq!((turns.taken(), in_line(&turns)), (0, 0));
    }
}
