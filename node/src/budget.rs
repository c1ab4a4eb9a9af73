//! KV memory: a request reserves what it can need before any of it is made or shipped, and gives it back on drop.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use secateur_proto::{ErrorCode, ServiceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{memory, settings::NodeSettings};

/// One permit of the semaphore, which counts in u32.
const GRAIN_BYTES: u64 = 4 << 10;

/// The KV memory of one node. Waiting is first come, first served.
pub struct KvBudget {
    grains: Arc<Semaphore>,
    grains_total: u32,
    waiting: Arc<AtomicU32>,
    waiting_max: u32,
}

/// Memory that a request holds; dropped with the request, however it ends.
#[derive(Debug)]
pub struct Reservation(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl KvBudget {
    /// A budget of `bytes`, for which `waiting_max` requests may wait.
    pub fn new(bytes: u64, waiting_max: u32) -> Self {
        let most = u64::from(u32::MAX).min(Semaphore::MAX_PERMITS as u64);
        let grains_total = (bytes / GRAIN_BYTES).min(most) as u32;
        let grains = Arc::new(Semaphore::new(grains_total as usize));
        Self { grains, grains_total, waiting: Arc::default(), waiting_max }
    }

    /// The budget that the settings ask for; without any, a share of the memory that is free now.
    pub fn of(settings: &NodeSettings) -> Self {
        let bytes = settings.kv_memory.map_or_else(memory::default_kv_bytes, |size| size.as_u64());
        Self::new(bytes, settings.queue_limit)
    }

    /// Reserves `bytes`, waiting for others to finish if need be. What can never fit is refused at once, as is one
    /// request more than may wait.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation, ServiceError> {
        let grains = bytes.div_ceil(GRAIN_BYTES);
        if grains > u64::from(self.grains_total) {
            let text =
                format!("the request needs {bytes} bytes of KV memory; the node has {} in all", self.bytes_total());
            return Err(ServiceError::new(ErrorCode::ContextLengthExceeded, text).with_param("max_tokens"));
        }
        let grains = grains as u32;
        if let Ok(permit) = self.grains.clone().try_acquire_many_owned(grains) {
            return Ok(Reservation(permit));
        }
        let _place = self.take_place()?;
        let closed = |_| ServiceError::new(ErrorCode::Unavailable, "the node is stopping");
        Ok(Reservation(self.grains.clone().acquire_many_owned(grains).await.map_err(closed)?))
    }

    /// All memory for KV.
    pub fn bytes_total(&self) -> u64 {
        u64::from(self.grains_total) * GRAIN_BYTES
    }

    /// Memory that requests hold now.
    pub fn bytes_used(&self) -> u64 {
        self.bytes_total() - self.grains.available_permits() as u64 * GRAIN_BYTES
    }

    /// Requests that wait for memory.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Most that may wait.
    pub fn waiting_max(&self) -> u32 {
        self.waiting_max
    }

    fn take_place(&self) -> Result<Place, ServiceError> {
        let place = Place(self.waiting.clone());
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            let text = format!("{} requests already wait for KV memory; try again shortly", self.waiting_max);
            return Err(ServiceError::new(ErrorCode::Overloaded, text));
        }
        Ok(place)
    }
}

/// A place among those that wait; given up on drop, also when the waiting future is dropped.
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_comes_back_on_drop() {
        let budget = KvBudget::new(10 * GRAIN_BYTES, 1);
        let held = budget.reserve(7 * GRAIN_BYTES - 1).await.unwrap();
        assert_eq!(budget.bytes_used(), 7 * GRAIN_BYTES);
        drop(held);
        assert_eq!(budget.bytes_used(), 0);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_refused_at_once() {
        let budget = KvBudget::new(10 * GRAIN_BYTES, 1);
        let error = budget.reserve(11 * GRAIN_BYTES).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ContextLengthExceeded);
    }

    #[tokio::test]
    async fn waiting_is_bounded_and_a_place_is_given_up_on_drop() {
        let budget = Arc::new(KvBudget::new(10 * GRAIN_BYTES, 1));
        let held = budget.reserve(10 * GRAIN_BYTES).await.unwrap();
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(GRAIN_BYTES).await }
        });
        while budget.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(budget.reserve(GRAIN_BYTES).await.unwrap_err().code, ErrorCode::Overloaded);
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        assert_eq!(budget.waiting(), 0);
        drop(held);
        assert!(budget.reserve(10 * GRAIN_BYTES).await.is_ok());
    }
}
