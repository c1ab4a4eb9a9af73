//! How long a shipment waits while decode takes nothing of it.
//!
//! A decode node that is full may be waited for; but it would come to hold the whole pool of every prefill node that ships
//! to it, and prompts for other decode nodes with it. So that ends when somebody wants the blocks. One that has room and
//! takes nothing all the same has lost part of the shipment, or its head: waiting longer helps nobody.

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

/// How often a shipment that has waited long enough looks whether somebody wants its blocks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where decode owes a word, patience lasts so many times as long: a frame of 1 MiB may share a slow link with as many others
/// as a router lets run (64 of them take 54 seconds at 10 Mbit/s).
const OWED: u32 = 2;

/// Whether a prompt waits for blocks: said by the engine, heard by shipments.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<AtomicBool>);

impl Shortage {
    /// Says so.
    pub fn set(&self, is_there: bool) {
        self.0.store(is_there, Ordering::Relaxed);
    }

    /// Whether it was said.
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A shipment's patience with its receiver.
#[derive(Clone, Debug)]
pub struct Patience {
    /// How long it waits at least.
    pub limit: Duration,
    /// What ends it after that, where decode has no room.
    pub shortage: Shortage,
}

/// What a shipment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Decode's word that it has the manifest, or takes a frame.
    Progress,
    /// Room at decode.
    Room,
}

impl Patience {
    /// Waits until decode has taken the first message.
    pub async fn wait<T>(&self, taken: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::select! {
            biased;
            done = taken => Ok(done),
            error = self.overdue(Instant::now(), WaitsFor::Progress) => Err(error),
        }
    }

    /// Resolves when decode has taken nothing since `since` for long enough, and, where it has no room, somebody wants the
    /// blocks. The error makes the router go on with another pair.
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
