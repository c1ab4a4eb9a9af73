//! How long a shipment may hold blocks that other prompts wait for, while decode takes nothing of it.
//!
//! A decode node that is slow, or full, would otherwise come to hold the whole pool of every prefill node that ships to
//! it, and prompts for other decode nodes with it. Where nobody wants the blocks, waiting costs nothing and goes on.

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
    /// What ends it after that.
    pub shortage: Shortage,
}

impl Patience {
    /// Waits until decode has taken something.
    pub async fn wait<T>(&self, taken: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::select! {
            biased;
            done = taken => Ok(done),
            error = self.overdue(Instant::now()) => Err(error),
        }
    }

    /// Resolves when decode has taken nothing since `since` for long enough and somebody wants the blocks. The error makes
    /// the router go on with another pair.
    pub async fn overdue(&self, since: Instant) -> ServiceError {
        sleep_until((since + self.limit).into()).await;
        while !self.shortage.is_there() {
            sleep(LOOK_AGAIN).await;
        }
        let text = format!("decode took nothing of the KV for {} s or more", self.limit.as_secs());
        ServiceError::new(ErrorCode::Unavailable, text)
    }
}
