//! Bounded admission: a fixed number of requests run, a fixed number wait, and the rest are refused at once (429).
//!
//! ```text
//! arrive ▸ Held: bytes counted as they come ▸ Ticket: admitted ▸ worker: parse and tokenize ▸ RunPermit: runs at the nodes
//! ```
//!
//! A request takes a [`Ticket`] when its whole body has arrived: a slow sender holds a connection and the bytes it has
//! sent, but no permit that others wait for. Permits and memory are released on drop, however the request ends, but not
//! while work that was started under them still runs.
//!
//! Permits to run at the nodes are given by class and age: `rank.rs` says how far a request stands back, `line.rs` who
//! is next, and `turns.rs` hands the permits over.

mod budget;
mod line;
mod peer;
mod rank;
mod shares;
mod turns;

use std::sync::Arc;

use secateur_proto::{ErrorCode, ServiceError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use self::turns::{Turn, Turns};
pub use self::{
    budget::{Budget, Held},
    peer::Peer,
    rank::Rank,
    shares::{Bounds, Permit, Permits},
};

/// Most bodies that may arrive slowly. Each holds a connection and the bytes it has sent, which are counted.
const SLOW_BODIES: Bounds = Bounds { total: 1_024, peer: 512 };
/// Assumed number of processors where the system does not say.
const PROCESSORS: usize = 4;

/// The permits and the memory budget that bound all requests.
pub struct Admission {
    /// Permits of admitted requests, running or waiting.
    entered: Arc<Semaphore>,
    entered_max: usize,
    /// Permits of requests that run at the nodes.
    running: Turns,
    /// Permits of requests that are being parsed or tokenized.
    workers: Arc<Semaphore>,
    budget: Budget,
    slow: Permits,
}

/// The permit of an admitted request, and the memory it holds.
#[derive(Debug)]
pub struct Ticket {
    _entered: OwnedSemaphorePermit,
    running: Turns,
    held: Arc<Held>,
}

/// The permit to run at the nodes.
#[derive(Debug)]
pub struct RunPermit {
    _running: Turn,
    ticket: Ticket,
}

impl Admission {
    /// Bounds of at most `concurrent` running and `waiting` waiting requests, which hold at most `held_bytes_max`
    /// bytes.
    pub fn new(concurrent: usize, waiting: usize, held_bytes_max: usize) -> Self {
        // Twice the number of processors, so that a short prompt does not wait for long ones.
        let workers = 2 * std::thread::available_parallelism().map_or(PROCESSORS, usize::from);
        Self {
            entered: Arc::new(Semaphore::new(concurrent + waiting)),
            entered_max: concurrent + waiting,
            running: Turns::new(concurrent),
            workers: Arc::new(Semaphore::new(workers)),
            budget: Budget::new(held_bytes_max),
            slow: Permits::new(SLOW_BODIES),
        }
    }

    /// Registers a request of `peer` whose body is about to be read.
    pub fn holder(&self, peer: Peer) -> Held {
        self.budget.holder(peer)
    }

    /// Takes a permit for a body that arrives slowly.
    pub fn slow_body(&self, peer: Peer) -> Result<Permit, ServiceError> {
        let refused = || ServiceError::new(ErrorCode::Overloaded, "too many bodies arrive slowly; try again soon");
        self.slow.take(peer).ok_or_else(refused)
    }

    /// Admits a request that holds its body, or refuses it if running and waiting requests are at their bound.
    pub fn enter(&self, held: Held) -> Result<Ticket, ServiceError> {
        self.ticket(Arc::new(held))
    }

    fn ticket(&self, held: Arc<Held>) -> Result<Ticket, ServiceError> {
        match self.entered.clone().try_acquire_owned() {
            Ok(permit) => Ok(Ticket { _entered: permit, running: self.running.clone(), held }),
            Err(_) => {
                let message = format!("the server already has {} requests; try again soon", self.entered_max);
                Err(ServiceError::new(ErrorCode::Overloaded, message))
            }
        }
    }

    /// Runs `job` on a blocking thread as soon as a worker permit is free. The ticket moves with the job: if the client
    /// disconnects, only the waiting ends; the job runs on and keeps its permit until it is done.
    pub async fn work<T: Send + 'static>(
        &self,
        ticket: Ticket,
        deadline: Instant,
        job: impl FnOnce(&Held) -> T + Send + 'static,
    ) -> Result<(Ticket, T), ServiceError> {
        let worker = timeout_at(deadline, self.workers.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(worker)) = worker else { return Err(late()) };
        let done = tokio::task::spawn_blocking(move || {
            let result = job(&ticket.held);
            drop(worker);
            (ticket, result)
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "preparing a request failed");
            ServiceError::new(ErrorCode::Internal, "the request could not be prepared; the failure is logged")
        })
    }

    /// Takes an admission permit for each of `choices` answers to the request of `ticket`: each answer is separate
    /// work.
    pub fn share(&self, ticket: Ticket, choices: usize) -> Result<Vec<Ticket>, ServiceError> {
        if choices > self.entered_max {
            let message =
                format!("prompts times n is {choices} answers; the server takes at most {} at once", self.entered_max);
            return Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("n"));
        }
        let held = ticket.held.clone();
        let mut tickets = vec![ticket];
        while tickets.len() < choices {
            tickets.push(self.ticket(held.clone())?);
        }
        Ok(tickets)
    }

    /// Takes further admission permits for the request of `ticket`, as many of `most` in all as are free: for work that
    /// is done in several places where there is room for it, and one after the other where there is none.
    pub fn share_up_to(&self, ticket: Ticket, most: usize) -> Vec<Ticket> {
        let held = ticket.held.clone();
        let more = std::iter::repeat_with(|| self.ticket(held.clone()).ok()).take(most.saturating_sub(1));
        std::iter::once(ticket).chain(more.map_while(|ticket| ticket)).collect()
    }

    /// Number of requests that run at the nodes.
    pub fn running(&self) -> usize {
        self.running.taken()
    }

    /// Number of admitted requests that do not run yet.
    pub fn waiting(&self) -> usize {
        self.entered().saturating_sub(self.running())
    }

    /// Number of admitted requests.
    fn entered(&self) -> usize {
        self.entered_max - self.entered.available_permits()
    }

    /// Number of admitted requests and of those whose bodies are arriving.
    pub fn present(&self) -> usize {
        self.budget.holders()
    }

    /// Counted bytes that requests hold.
    pub fn held_bytes(&self) -> usize {
        self.budget.bytes()
    }
}

impl Ticket {
    /// The memory that the request holds.
    pub fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// Waits for a permit to run at the nodes. Permits are given in order of arrival, which `rank` puts off or forward.
    pub async fn turn(self, rank: Rank, deadline: Instant) -> Result<RunPermit, ServiceError> {
        let permit = self.running.take(rank, deadline).await.ok_or_else(late)?;
        Ok(RunPermit { _running: permit, ticket: self })
    }
}

impl RunPermit {
    /// The memory that the request holds.
    pub fn held(&self) -> &Held {
        &self.ticket.held
    }
}

fn late() -> ServiceError {
    ServiceError::new(ErrorCode::Timeout, "the request waited too long for its turn")
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::mpsc,
        time::Duration,
    };

    use super::*;

    fn enter(admission: &Admission) -> Result<Ticket, ServiceError> {
        admission.enter(admission.holder(IpAddr::from(Ipv4Addr::LOCALHOST).into()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn what_is_over_the_bounds_is_refused_and_drops_give_back() {
        let admission = Admission::new(1, 1, 1 << 20);
        let permit = enter(&admission).unwrap().turn(Rank::default(), soon()).await.unwrap();
        let waiting = enter(&admission).unwrap();
        assert_eq!((admission.running(), admission.waiting()), (1, 1));
        assert_eq!(enter(&admission).unwrap_err().code, ErrorCode::Overloaded);
        assert_eq!(waiting.turn(Rank::default(), soon()).await.unwrap_err().code, ErrorCode::Timeout);
        drop(permit);
        let several = enter(&admission).unwrap();
        assert_eq!(admission.share(several, 3).unwrap_err().param.as_deref(), Some("n"), "never, not later");
        let fewer = admission.share_up_to(enter(&admission).unwrap(), 5);
        assert_eq!((fewer.len(), admission.entered()), (2, 2), "as many as are free");
        drop(fewer);
        let shared = admission.share(enter(&admission).unwrap(), 2).unwrap();
        assert_eq!((shared.len(), admission.entered()), (2, 2));
        let again = enter(&admission);
        assert_eq!(again.unwrap_err().code, ErrorCode::Overloaded);
        drop(shared);
        assert_eq!((admission.running(), admission.waiting(), admission.present()), (0, 0, 0));
        enter(&admission).unwrap().turn(Rank::default(), soon()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_request_holds_is_free_when_its_last_answer_ends() {
        let admission = Admission::new(2, 0, 1 << 20);
        let ticket = enter(&admission).unwrap();
        ticket.held().resize(100_000).unwrap();
        let mut tickets = admission.share(ticket, 2).unwrap();
        let held = admission.held_bytes();
        drop(tickets.pop());
        assert!(held > 0 && admission.held_bytes() == held);
        drop(tickets);
        assert_eq!(admission.held_bytes(), 0);
    }

    /// The runtime has one thread: the job could not wait for this test if it ran on it.
    #[tokio::test]
    async fn a_client_that_leaves_frees_no_permit_while_its_work_goes_on() {
        let admission = Admission::new(1, 0, 1 << 20);
        let (go, gate) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let job = move |_: &Held| {
            begun.send(()).unwrap();
            gate.recv().unwrap();
        };
        let ticket = enter(&admission).unwrap();
        {
            let work = admission.work(ticket, Instant::now() + Duration::from_secs(10), job);
            tokio::pin!(work);
            tokio::select! {
                _ = &mut work => panic!("the job waits"),
                begun = begins => begun.unwrap(),
            }
        }
        assert_eq!(enter(&admission).unwrap_err().code, ErrorCode::Overloaded, "the work goes on");
        go.send(()).unwrap();
        while admission.present() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(enter(&admission).is_ok());
    }
}
