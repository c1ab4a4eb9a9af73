//! The table of open epochs, and what each may still receive.
//!
//! ```text
//! open ──▶ Waiting ──claim──▶ Claimed ──▶ (entry removed when its request ends)
//!             └── an older attempt, a second claim, an unknown epoch: refused
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use secateur_proto::{ErrorCode, ServiceError};
use secateur_transfer::{Refusal, TransferPolicy, receive::Accepted};
use tokio::sync::oneshot;

use crate::kept::HeldKv;

/// A prompt's KV, placed and checked.
pub struct Placed {
    /// The prompt's KV blocks, written for every position that was shipped.
    pub kv: HeldKv,
    /// Facts from the shipment's manifest and closing frame.
    pub accepted: Accepted,
}

/// Result of a shipment, sent by its receiver to the waiting request.
pub type Outcome = Result<Placed, ServiceError>;

/// Limits that a request sets for its shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShipmentLimits {
    /// Most positions that the prompt may fill.
    pub prompt_positions_max: u32,
    /// Transfer policy that prefill was asked to use.
    pub transfer: TransferPolicy,
    /// Number of the answer's tokens that exist already, whose KV is part of the shipment.
    pub emitted: u32,
}

/// The right to ship to one epoch, once.
pub struct Claim {
    /// Limits of the shipment.
    pub room: ShipmentLimits,
    /// Channel for the result, to the waiting request.
    pub outcome: oneshot::Sender<Outcome>,
}

struct Entry {
    attempt: u32,
    /// The right to ship; `None` once claimed.
    claim: Option<Claim>,
}

/// The epochs that are open on this node.
#[derive(Default)]
pub struct Epochs {
    // The lock is held for a lookup only, never across an await.
    table: Mutex<HashMap<String, Entry>>,
}

impl Epochs {
    /// Opens an epoch. A newer attempt replaces an older one, whose request then fails.
    pub fn open(self: &Arc<Self>, id: &str, attempt: u32, room: ShipmentLimits) -> Result<Open, ServiceError> {
        let (sender, outcome) = oneshot::channel();
        let mut table = self.table();
        if table.get(id).is_some_and(|entry| entry.attempt >= attempt) {
            let text = "the epoch is already open on this node";
            return Err(ServiceError::new(ErrorCode::InvalidRequest, text).with_param("epoch"));
        }
        let claim = Some(Claim { room, outcome: sender });
        table.insert(id.to_owned(), Entry { attempt, claim });
        Ok(Open { epochs: self.clone(), id: id.to_owned(), attempt, outcome: Some(outcome) })
    }

    /// Takes the right to ship to an epoch.
    pub fn claim(&self, id: &str, attempt: u32) -> Result<Claim, Refusal> {
        let mut table = self.table();
        let entry = table.get_mut(id).ok_or(Refusal::UnknownEpoch)?;
        if entry.attempt != attempt {
            return Err(Refusal::StaleEpoch);
        }
        entry.claim.take().ok_or(Refusal::StaleEpoch)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table().len()
    }

    fn close(&self, id: &str, attempt: u32) {
        let mut table = self.table();
        if table.get(id).is_some_and(|entry| entry.attempt == attempt) {
            table.remove(id);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An open epoch; closed on drop, so that no shipment finds a request that has ended.
pub struct Open {
    epochs: Arc<Epochs>,
    id: String,
    attempt: u32,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

impl Open {
    /// Waits for the result of the shipment.
    pub async fn shipment(&mut self) -> Outcome {
        let lost = || ServiceError::new(ErrorCode::Unavailable, "the KV shipment was lost");
        match self.outcome.take() {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(lost())),
            None => Err(lost()),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.epochs.close(&self.id, self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: ShipmentLimits =
        ShipmentLimits { prompt_positions_max: 10, transfer: TransferPolicy::Dense, emitted: 0 };

    #[test]
    fn an_epoch_is_shipped_to_once() {
        let epochs = Arc::new(Epochs::default());
        let open = epochs.open("a", 0, ROOM).unwrap();
        assert_eq!(epochs.claim("b", 0).err(), Some(Refusal::UnknownEpoch));
        assert_eq!(epochs.claim("a", 1).err(), Some(Refusal::StaleEpoch));
        assert_eq!(epochs.claim("a", 0).unwrap().room, ROOM);
        assert_eq!(epochs.claim("a", 0).err(), Some(Refusal::StaleEpoch));
        drop(open);
        assert_eq!(epochs.claim("a", 0).err(), Some(Refusal::UnknownEpoch));
        assert_eq!(epochs.len(), 0);
    }

    #[tokio::test]
    async fn a_newer_attempt_takes_over() {
        let epochs = Arc::new(Epochs::default());
        let mut old = epochs.open("a", 0, ROOM).unwrap();
        assert!(epochs.open("a", 0, ROOM).is_err());
        let _new = epochs.open("a", 1, ROOM).unwrap();
        assert_eq!(old.shipment().await.err().unwrap().code, ErrorCode::Unavailable);
        assert_eq!(epochs.claim("a", 0).err(), Some(Refusal::StaleEpoch));
        // The old request's end does not close the new one's epoch.
        drop(old);
        assert!(epochs.claim("a", 1).is_ok());
    }
}
