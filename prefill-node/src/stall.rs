//! Limits on how long a shipment waits while decode takes nothing of it.
//!
//! A shipment may wait for a full decode node. But its KV blocks stay leased meanwhile, and a full decode node could
//! tie up the whole pool of every prefill node that ships to it, with it the prompts for other decode nodes. So the
//! wait ends when other prompts want the blocks. A decode node that has room and still takes nothing has lost part of
//! the shipment or does not work any more: waiting longer does not help.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use secateur_proto::{ErrorCode, ServiceError};
use tokio::time::{sleep, sleep_until};

/// Interval at which a shipment that has waited long enough checks whether prompts want its blocks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Factor on the patience where decode owes a reply: a frame of 1 MiB may share a slow link with as many others as a
/// router lets run (64 of them take 54 seconds at 10 Mbit/s).
const OWED: u32 = 2;

/// Flag that a prompt waits for blocks: set by the engine, read by shipments.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<AtomicBool>);

impl Shortage {
    /// Sets or clears the flag.
    pub fn set(&self, is_there: bool) {
        self.0.store(is_there, Ordering::Relaxed);
    }

    /// Whether a prompt waits for blocks.
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A shipment's patience with its receiver.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Least time that the shipment waits.
    pub limit: Duration,
    /// Flag that ends the wait after `limit` if decode has no room.
    pub shortage: Shortage,
}

/// The reply that a shipment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Decode's acknowledgement of the manifest or of a frame.
    Progress,
    /// Decode's word that it has leased blocks for the shipment.
    Room,
}

impl Patience {
    /// Waits for `taken`, which resolves when decode has taken the first message; an error if that takes too long.
    pub async fn wait<T>(&self, taken: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::select! {
            biased;
            done = taken => Ok(done),
            error = self.overdue(Instant::now(), WaitsFor::Progress) => Err(error),
        }
    }

    /// Resolves when decode has taken nothing for too long since `since` and, if decode has no room, other prompts want
    /// the blocks. The error makes the router retry with another pair.
    pub async fn overdue(&self, since: Instant, waits_for: WaitsFor) -> ServiceError {
        let limit = match waits_for {
            WaitsFor::Progress => self.limit * OWED,
            WaitsFor::Room => self.limit,
        };
        sleep_until((since + limit).into()).await;
        while waits_for == WaitsFor::Room && !self.shortage.is_there() {
            sleep(LOOK_AGAIN).await;
        }
        let text = format!("decode took nothing of the KV for {} s or more", limit.as_secs());
        ServiceError::new(ErrorCode::Unavailable, text).at_peer()
    }
}
