//! The engine thread, whose end is the node's end: a node that cannot compute must not look healthy.
//!
//! ```text
//! Life::begin ──▶ engine thread ── returns or panics ──▶ Life::ended is cancelled
//!                                                            ├── respond.rs: running requests fail at once
//!                                                            └── host.rs: NOT_SERVING, draining, then an error
//!                                                                  └── program.rs: one line in the log, exit status 1
//! ```

use std::{io, thread};

use secateur_common::shutdown::CancellationToken;

use crate::Leash;

/// The life of a thread that a node cannot go on without.
#[derive(Clone, Debug, Default)]
pub struct Life {
    ended: CancellationToken,
}

impl Life {
    /// Starts `work` on a thread with the given name. [`Life::ended`] resolves when the thread ends, by return or
    /// panic, after everything that `work` owned was dropped.
    pub fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let life = Self::default();
        let end = Leash::new(life.ended.clone());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _end = end;
            work();
        })?;
        Ok(life)
    }

    /// Resolves when the thread has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_end_shows_whether_by_return_or_by_panic() {
        for panics in [false, true] {
            let (goes_on, waits) = mpsc::channel::<()>();
            let life = Life::begin("test", move || {
                let _ = waits.recv();
                assert!(!panics, "a defect");
            })
            .unwrap();
            assert!(!life.has_ended());
            drop(goes_on);
            life.ended().await;
            assert!(life.has_ended());
        }
    }
}
