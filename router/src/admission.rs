//! Bounded admission: so many requests run, so many more wait, and the rest are told at once to come back later.
//!
//! A request takes a [`Ticket`] before its body is read, so that bodies in memory are bounded too, and a [`Turn`] before
//! it goes to the nodes. Both come back on drop, however the request ends.

use std::sync::Arc;

use secateur_proto::{ErrorCode, ServiceError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// The two bounds.
pub struct Admission {
    /// Requests in the house: running or waiting.
    entered: Arc<Semaphore>,
    entered_max: usize,
    /// Requests at the nodes.
    running: Arc<Semaphore>,
    running_max: usize,
}

/// A place in the house.
#[derive(Debug)]
pub struct Ticket {
    _entered: OwnedSemaphorePermit,
    running: Arc<Semaphore>,
}

/// A place at the nodes.
#[derive(Debug)]
pub struct Turn {
    _running: OwnedSemaphorePermit,
    _ticket: Ticket,
}

impl Admission {
    /// At most `concurrent` running and `waiting` more waiting.
    pub fn new(concurrent: usize, waiting: usize) -> Self {
        Self {
            entered: Arc::new(Semaphore::new(concurrent + waiting)),
            entered_max: concurrent + waiting,
            running: Arc::new(Semaphore::new(concurrent)),
            running_max: concurrent,
        }
    }

    /// Enters, or is told to come back.
    pub fn enter(&self) -> Result<Ticket, ServiceError> {
        match self.entered.clone().try_acquire_owned() {
            Ok(permit) => Ok(Ticket { _entered: permit, running: self.running.clone() }),
            Err(_) => {
                let message = format!("the server already has {} requests; try again soon", self.entered_max);
                Err(ServiceError::new(ErrorCode::Overloaded, message))
            }
        }
    }

    /// A place in the house for each of `choices` answers to the request that holds `ticket`: each is work of its own.
    pub fn share(&self, ticket: Ticket, choices: usize) -> Result<Vec<Ticket>, ServiceError> {
        if choices > self.entered_max {
            let message =
                format!("prompts times n is {choices} answers; the server takes at most {} at once", self.entered_max);
            return Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("n"));
        }
        let mut tickets = vec![ticket];
        while tickets.len() < choices {
            tickets.push(self.enter()?);
        }
        Ok(tickets)
    }

    /// Requests at the nodes.
    pub fn running(&self) -> usize {
        self.running_max - self.running.available_permits()
    }

    /// Requests that have entered and do not run yet.
    pub fn waiting(&self) -> usize {
        self.entered().saturating_sub(self.running())
    }

    /// Requests in the house.
    pub fn entered(&self) -> usize {
        self.entered_max - self.entered.available_permits()
    }
}

impl Ticket {
    /// Waits for a place at the nodes, first come, first served.
    pub async fn turn(self, deadline: Instant) -> Result<Turn, ServiceError> {
        let late = || ServiceError::new(ErrorCode::Timeout, "the request waited too long for its turn");
        match timeout_at(deadline, self.running.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { _running: permit, _ticket: self }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_over_the_bounds_is_refused_and_drops_give_back() {
        let admission = Admission::new(1, 1);
        let soon = || Instant::now() + Duration::from_millis(20);
        let turn = admission.enter().unwrap().turn(soon()).await.unwrap();
        let waiting = admission.enter().unwrap();
        assert_eq!((admission.running(), admission.waiting()), (1, 1));
        assert_eq!(admission.enter().unwrap_err().code, ErrorCode::Overloaded);
        assert_eq!(waiting.turn(soon()).await.unwrap_err().code, ErrorCode::Timeout);
        drop(turn);
        let several = admission.enter().unwrap();
        assert_eq!(admission.share(several, 3).unwrap_err().param.as_deref(), Some("n"), "never, not later");
        let shared = admission.share(admission.enter().unwrap(), 2).unwrap();
        assert_eq!((shared.len(), admission.entered()), (2, 2));
        let again = admission.enter();
        assert_eq!(again.unwrap_err().code, ErrorCode::Overloaded);
        drop(shared);
        assert_eq!((admission.running(), admission.waiting()), (0, 0));
        admission.enter().unwrap().turn(soon()).await.unwrap();
    }
}
